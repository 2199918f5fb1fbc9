"""A snapshot is the changelog, shorter; whatever is wrong with it, it is passed over."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.adapters.snapshots import SnapshotFiles
from streams.engine import snapshots
from streams.engine.snapshots import DamagedError, Row, Snapshot

NOW_MS = 1_700_000_000_000
KEYS, TAGS = st.binary(max_size=9), st.integers(2, 2**31 - 1)
ROWS = st.lists(st.tuples(KEYS, TAGS, st.binary(max_size=40)), max_size=9)


def stored(pieces: list[list[Row]], spent: list[bytes] | None = None, number: int = 9) -> bytes:
    encoder = snapshots.Encoder()
    head = Snapshot(7, NOW_MS, 2, 9, sum(map(len, pieces)), iter(()), spent or [])
    return b"".join([encoder.head(head, layout=1, width=2), *map(encoder.rows, pieces),
                     encoder.end(number)])


def read(whole: bytes, *, layout: int = 1, width: int = 2, now_ms: int = NOW_MS,
         ends: Mapping[int, int] | None = None) -> Snapshot | None:
    return snapshots.read(BytesIO(whole), layout=layout, width=width,
                          ends={2: 9} if ends is None else ends, now_ms=now_ms)


def rows_of(found: Snapshot | None) -> list[Row] | None:
    """What recovery gets of it; None: nothing."""
    try:
        return None if found is None else [row for rows in found.rows for row in rows]
    except DamagedError:
        return None


@given(st.lists(ROWS, max_size=4), st.lists(st.binary(max_size=9)))
def test_rows_come_back_as_they_were(pieces: list[list[Row]], spent: list[bytes]) -> None:
    found = read(stored(pieces, spent))
    assert found is not None
    assert (found.next_offset, found.epoch, found.number, found.spent) == (7, 2, 9, spent)
    assert rows_of(found) == [row for rows in pieces for row in rows]


@given(st.data())
def test_a_damaged_snapshot_is_passed_over(data: st.DataObject) -> None:
    whole = stored([[(b"a", 4, b"1"), (b"b", 5, b"")], [(b"c", 4, b"3")]], [b"spent"])
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1:]
    assert rows_of(read(flipped)) is None
    assert rows_of(read(whole[:at])) is None


def test_a_part_that_is_left_out_or_moved_is_noticed() -> None:
    pieces: list[list[Row]] = [[(b"a", 4, b"1")], [(b"b", 4, b"1")]]
    none, whole = stored([[], []]), stored(pieces)
    end, empty = 4 + 1 + 16 + 16, len(stored([[], [], []])) - len(none)
    rows = (len(whole) - len(none)) // 2 + empty
    head = len(whole) - end - 2 * rows
    parts = [whole[:head], whole[head:head + rows], whole[head + rows:head + 2 * rows],
             whole[head + 2 * rows:]]
    assert rows_of(read(b"".join(parts))) == [*pieces[0], *pieces[1]]
    assert rows_of(read(parts[0] + parts[2] + parts[3])) is None
    assert rows_of(read(parts[0] + parts[2] + parts[1] + parts[3])) is None


@pytest.mark.parametrize(("layout", "width", "now_ms"), [
    (2, 2, NOW_MS), (1, 3, NOW_MS), (1, 2, NOW_MS + snapshots.AGE_MS_MAX + 1), (1, 2, NOW_MS - 1)])
def test_a_snapshot_of_another_layout_or_time_is_passed_over(layout: int, width: int,
                                                             now_ms: int) -> None:
    assert read(stored([]), layout=layout, width=width, now_ms=now_ms) is None


def test_a_snapshot_of_checkpoints_that_do_not_count_is_passed_over() -> None:
    assert read(stored([]), ends={2: 8}) is None and read(stored([]), ends={1: 20}) is None
    # Its last rows were taken after checkpoint 11.
    later = stored([[(b"a", 4, b"1")]], number=11)
    assert rows_of(read(later, ends={2: 10})) is None
    assert rows_of(read(later, ends={2: 11})) == [(b"a", 4, b"1")]


def loaded(files: SnapshotFiles) -> bytes | None:
    file = files.load(3)
    if file is None:
        return None
    with file:
        return file.read()


_WRITER = """
import sys, time
from pathlib import Path
from streams.adapters.snapshots import SnapshotFiles
file = SnapshotFiles(Path(sys.argv[1])).begin(3)
file.write(b"half of the new one" * 100_000)
print("written", flush=True)
time.sleep(60)
file.finish()
"""


def test_a_writer_that_is_killed_in_the_middle_leaves_the_snapshot_before(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path / "state")
    assert loaded(files) is None
    before = files.begin(3)
    before.write(b"the one ")
    before.write(b"before")
    assert loaded(files) is None
    before.finish()
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path / "state")],
                          stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"written\n"
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    assert loaded(files) == b"the one before" and len(list((tmp_path / "state").iterdir())) == 2
    after = files.begin(3)       # what the killed one left is removed
    after.write(b"the next one")
    after.finish()
    assert loaded(files) == b"the next one" and len(list((tmp_path / "state").iterdir())) == 1


def test_a_snapshot_that_is_given_up_leaves_the_one_before(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path)
    for text, ends in ((b"old", True), (b"new", False)):
        file = files.begin(3)
        file.write(text)
        (file.finish if ends else file.abandon)()
    assert loaded(files) == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_said_and_stops_nothing(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    file = SnapshotFiles(tmp_path / "file").begin(3)
    file.write(b"lost")
    file.finish()
    assert "no snapshot of partition 3" in caplog.text
