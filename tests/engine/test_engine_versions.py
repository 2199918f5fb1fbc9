"""Versions of rows: what the last commit needs stays, what nobody needs goes, nothing grows."""

from __future__ import annotations

import pytest

from streams.engine import checkpoints, versions
from streams.engine.versions import Entry, Lineage, Versions, full, stamp_of
from streams.kernel.errors import StateError


def written(by: Versions, number: int, *parts: list[Entry]) -> list[Entry]:
    """What a checkpoint of these rows puts into the changelog."""
    stamp = stamp_of(number)
    return list(by.writing(number, (
        ([key for key, _ in rows], [None if body is None else stamp + body for _, body in rows])
        for rows in parts)))


class Life:
    """A changelog that is compacted at once, and its owners, one after the other."""

    def __init__(self) -> None:
        self.log: dict[bytes, bytes | None] = {}
        self.lineage = Lineage()
        self.versions = Versions(self.lineage)

    def take_over(self) -> dict[bytes, bytes]:
        """A new owner; returns the rows it finds."""
        self.lineage = self.lineage.claimed()
        self.versions, found = Versions(self.lineage), dict[bytes, bytes]()
        for key, value in self.versions.read(list(self.log.items())):
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value
        return found

    def checkpoint(self, *rows: Entry, commits: bool = True) -> None:
        number = self.lineage.number + 1
        due = [*rows, *((key, b"moved") for key in self.versions.take_moving())]
        for stored, value in written(self.versions, number, due):
            self.log.pop(stored, None)
            self.log[stored] = value
        if commits:
            self.lineage = self.versions.next(number)
            self.versions.settle(self.lineage)

    def kept(self) -> int:
        return sum(value is not None for value in self.log.values())


def test_an_owner_finds_what_was_committed_and_nothing_of_what_was_not() -> None:
    life = Life()
    assert life.take_over() == {}
    life.checkpoint((b"a", b"1"), (b"b", b"1"))
    life.checkpoint((b"a", b"2"), (b"b", None))
    life.checkpoint((b"a", b"3"), (b"b", b"3"), (b"c", b"3"), commits=False)
    assert life.take_over() == {b"a": b"2"}


def test_what_a_zombie_writes_and_clears_changes_nothing() -> None:
    life = Life()
    life.take_over()
    life.checkpoint((b"a", b"1"), (b"b", b"1"))
    life.checkpoint((b"b", b"2"))
    zombie = life.versions
    assert life.take_over() == {b"a": b"1", b"b": b"2"}
    life.checkpoint((b"b", b"3"))
    for stored, value in written(
            zombie, 3, [(b"a", b"old"), (b"b", None), (b"z", b"old")]):
        life.log.pop(stored, None)
        life.log[stored] = value
    assert life.take_over() == {b"a": b"1", b"b": b"3"}


def test_a_row_that_is_dropped_leaves_nothing_behind() -> None:
    life = Life()
    for _ in range(3):
        life.take_over()
        life.checkpoint((b"a", b"1"))
    life.checkpoint((b"a", None))
    assert life.take_over() == {}
    for _ in range(3):
        life.checkpoint((b"m", b"1"))
    assert {versions.split(stored)[1] for stored, value in life.log.items()
            if value is not None} == {b"m"}


def test_a_row_that_is_dropped_and_comes_back_is_there() -> None:
    life = Life()
    life.take_over()
    life.checkpoint((b"a", b"1"))
    life.checkpoint((b"a", None))
    life.checkpoint((b"a", b"3"))
    life.checkpoint((b"m", b"4"))
    life.checkpoint((b"m", b"5"))
    assert life.take_over() == {b"a": b"3", b"m": b"5"}


def test_neither_changelog_nor_metadata_grow_with_the_owners() -> None:
    """Owners that die at once, owners that work, and rows that nobody ever changes again."""
    life = Life()
    life.take_over()
    life.checkpoint(*((b"cold%d" % n, b"1") for n in range(20)))
    for number in range(400):
        life.take_over()
        life.take_over()
        life.checkpoint((b"hot", b"%d" % number), (b"cold-to-be-%d" % (number % 200), b"1"))
        life.checkpoint((b"hot", b"%d" % number))
    found = life.take_over()
    assert len(found) == 20 + 200 + 1 and len(life.lineage.ends) <= versions.EPOCHS_MAX + 2
    assert len(life.lineage.metadata()) < 2_000       # the broker takes 4,096
    assert life.kept() <= 2 * len(found) + versions.EPOCHS_MAX


def test_a_flood_of_owners_stays_within_the_metadata() -> None:
    """Each makes one checkpoint; old rows are more than one checkpoint may move."""
    life = Life()
    life.take_over()
    life.checkpoint(*((b"cold%d" % n, b"1") for n in range(3 * versions.MOVED_ROWS_MAX)))
    for number in range(300):
        life.take_over()
        life.checkpoint((b"k%d" % number, b"1"))
    assert len(life.lineage.metadata()) < 3_000
    assert len(life.take_over()) == 300 + 3 * versions.MOVED_ROWS_MAX


def test_a_snapshot_has_the_tags_of_its_checkpoint_also_when_it_is_written_later() -> None:
    """A row that is written anew while the snapshot is: its old version must still be cleared by
    whoever goes on from there. Else it would come back when the row is dropped one day."""
    life = Life()
    life.take_over()
    life.checkpoint((b"a", b"1"), (b"b", b"1"))
    life.take_over()
    life.checkpoint((b"b", b"2"))
    standing, spent = life.versions.standing(), life.versions.spent
    before = dict(life.log)
    life.checkpoint((b"a", b"3"), (b"c", b"3"))
    rows = [(key, tag, b"row") for key, tag, _ in standing]
    assert sorted(key for key, _, _ in rows) == [b"a", b"b"]
    lineage = life.lineage.claimed()
    found = Versions(lineage)
    found.load(rows)
    found.load_spent(spent)
    behind = [each for each in life.log.items() if each not in before.items()]
    assert dict(found.read(behind)) == {b"a": b"3", b"c": b"3"}
    assert full(2, b"a") in found.spent


def test_a_lineage_comes_back_from_its_metadata() -> None:
    lineage = Lineage(((7, 100), (9, 130)))
    assert Lineage.read(lineage.metadata()) == lineage
    assert Lineage.read("") == Lineage.read(None) == Lineage()
    assert checkpoints.newest([None, lineage.metadata()]) == lineage


@pytest.mark.parametrize("metadata", ["checkpoint=5", "epochs=", "epochs=1", "epochs=a:b"])
def test_metadata_of_somebody_else_is_refused_with_a_remedy(metadata: str) -> None:
    with pytest.raises(StateError, match="reset the stage") as caught:
        Lineage.read(metadata)
    assert metadata in str(caught.value)


@pytest.mark.parametrize(("stored", "lineage", "words"), [
    (b"profile-1", Lineage(((1, 5), (2, 5))), "an older build"),
    (b"\x00mark", Lineage(((1, 5), (2, 5))), "an older build"),
    (full(2, b"a"), Lineage(((1, 0),)), "no offsets were ever committed")])
def test_a_changelog_that_does_not_belong_here_is_refused_with_a_remedy(
        stored: bytes, lineage: Lineage, words: str) -> None:
    with pytest.raises(StateError, match=words) as caught:
        list(Versions(lineage).read([(stored, bytes(9))]))
    assert "reset the stage" in caught.value.remedy


def test_rows_that_are_handed_over_in_parts_are_written_like_those_that_come_together() -> None:
    stories = [[(b"a", b"1"), (b"b", b"1"), (b"c", b"1")], [(b"b", None), (b"z", None)],
               [(b"a", b"2"), (b"b", None), (b"c", b"2"), (b"d", b"1")], [(b"b", b"3")],
               [(b"a", None), (b"b", None), (b"c", None), (b"d", None)], [], []]
    whole, parted = (Versions(Lineage().claimed()) for _ in range(2))
    for number, rows in enumerate(stories, 1):
        parts = [[row] for row in rows]
        assert written(parted, number, *parts) == written(whole, number, rows)
        for each in (whole, parted):
            each.settle(each.next(number))
    assert len(whole) == len(parted) == 0
