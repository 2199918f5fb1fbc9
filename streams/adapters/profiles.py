"""Reading one profile's row from the changelog of choose, beside the workers that write it."""

from __future__ import annotations

import re
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams import pipeline
from streams.adapters.control import read_compacted
from streams.adapters.reading import read_whole, unreachable
from streams.choose import profiles
from streams.choose.backing import Backing
from streams.choose.definitions import compiled
from streams.choose.sharing import is_of_people
from streams.engine import checkpoints
from streams.engine.versions import Lineage
from streams.kernel.ids import partition_of
from streams.kernel.side_inputs import SideInputs
from streams.settings import Settings

STAGE = pipeline.BY_NAME["choose"]
_PROFILE_ID = re.compile(r"[0-9a-f]{32}")


def is_profile_id(text: str) -> bool:
    """True for what can be a profile id: 32 hex digits."""
    return _PROFILE_ID.fullmatch(text) is not None


def read_profile(settings: Settings, profile_id: str) -> dict[str, Any] | None:
    """The profile as of the last checkpoint, see `choose.profiles`; None: there is no such row.

    Reads the changelog of the person's partition from end to end: for an operator's question, not
    for an app's every request. Raises UnreachableError when the broker does not answer, StateError
    when the row cannot be read.
    """
    partition = partition_of(profile_id.encode(), settings.partitions)
    entries = [(stored, value) for stored, value in read_whole(settings, STAGE.keeps, partition)
               if profiles.needed(stored, profile_id)]
    # Asked afterwards: whatever counted in what was read still counts.
    lineage = lineage_of(settings, partition)
    return profiles.found_in(compiled(settings.definitions), profile_id,
                             upstream=settings.partitions, lineage=lineage, entries=entries,
                             backing=_backing(settings))


def _backing(settings: Settings) -> Backing | None:
    """What groups say now, when a feature asks for it."""
    side = SideInputs()
    backing = Backing(compiled(settings.definitions), side,
                      members_min=settings.segment_members_min)
    if not backing.is_asked:
        return None
    for record in read_compacted(settings, pipeline.SEGMENT_ROLLS, is_of_people).values():
        side.take(pipeline.SEGMENT_ROLLS, record)
    return backing


def lineage_of(settings: Settings, partition: int) -> Lineage:
    """As committed for a partition of choose. Raises UnreachableError."""
    asking = Consumer({**settings.kafka_client, "group.id": STAGE.group,
                       "enable.auto.commit": False})
    try:
        places = asking.committed([TopicPartition(topic, partition) for topic in STAGE.inputs],
                                  timeout=30)
    except KafkaException as fault:
        raise unreachable(f"{STAGE.name}: committed offsets cannot be read", fault) from fault
    finally:
        asking.close()
    return checkpoints.newest(place.metadata for place in places)
