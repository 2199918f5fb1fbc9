"""What passes between the steps of compose: a text, and what is wrong with one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Draft:
    """Subject and body, with slots (a skeleton) or with facts bound (a message)."""

    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Fault:
    """The gate that refused a draft, and its sentence."""

    gate: str
    says: str
