"""Avro contracts and their codecs. Imports nothing of ours."""

from schemas.contracts import CONTRACTS, Contract, contract
from schemas.framing import MAGIC_CONFLUENT, MAGIC_SINGLE_OBJECT, frame, split

__all__ = ["CONTRACTS", "MAGIC_CONFLUENT", "MAGIC_SINGLE_OBJECT", "Contract", "contract",
           "frame", "split"]
