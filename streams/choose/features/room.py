"""Room: how many bytes of a row each feature takes, as `kairos plan` tells."""

from __future__ import annotations

from dataclasses import dataclass

from streams.choose.features.layout import R_A, R_B, R_C, R_TIMES, Layout


@dataclass(frozen=True, slots=True)
class Room:
    """`bytes` that a feature adds to the row; `shared`: bytes that it reads beside them, which
    features declared before it keep already."""

    name: str
    bytes: int
    shared: int


def rooms_of(layout: Layout) -> list[Room]:
    """Of every feature, in the order of the layout. Their `bytes` and those of what the row keeps
    for none of them are its `row_bytes`."""
    sizes = {cell.at: cell.size for cell in layout.cells.values()}
    taken: set[int] = set()
    found = []
    for spec, read in zip(layout.specs, layout.reads.tolist(), strict=True):
        own = set() if spec.kind == "ratio" else {read[column] for column in
                                                  (R_A, R_B, R_C, R_TIMES)}
        found.append(Room(spec.name, sum(sizes[at] for at in own - taken),
                          sum(sizes[at] for at in own & taken)))
        taken |= own
    return found
