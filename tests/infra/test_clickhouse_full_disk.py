"""A full disk under the engine: refused in time, and what was cut short is neither kept nor lost.

The engine itself goes on after a write that failed, so each test looks at every row in the end.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from clickhouse_process import ClickHouseProcess

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
DISK_MB, FLOOR_MB = 160, 32
ROWS = 8_000
TABLE = ("CREATE TABLE kept (block UInt32, id UInt32, noise String) ENGINE = MergeTree ORDER BY id "
         "SETTINGS non_replicated_deduplication_window = 100")
WHOLE = "SELECT block, count(), sum(length(noise)) FROM kept GROUP BY block ORDER BY block"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = shutil.which("mount")
    made = mount is not None and subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(where)],
        capture_output=True).returncode == 0
    if not made:
        pytest.skip("this user may not mount a small file system to fill")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


@contextmanager
def serving(home: Path, **settings: str) -> Iterator[ClickHouseProcess]:
    engine = ClickHouseProcess(home, **settings)
    try:
        engine.start().sql(TABLE)
        yield engine
    finally:
        engine.stop()


def insert(engine: ClickHouseProcess, block: int) -> str:
    """Send a block of some 1 MiB under its token; the error code, empty when it is in."""
    dice = random.Random(block)
    rows = b"".join(b"%d,%d,%s\n" % (block, at, dice.randbytes(64).hex().encode())
                    for at in range(ROWS))
    answer = engine.post(rows, query="INSERT INTO kept FORMAT CSV",
                         insert_deduplication_token=f"b{block}")
    return str(answer.headers.get("x-clickhouse-exception-code", ""))


def insert_small(engine: ClickHouseProcess, block: int) -> str:
    answer = engine.post(b"%d,1,x\n" % block, query="INSERT INTO kept FORMAT CSV",
                         insert_deduplication_token=f"b{block}")
    return str(answer.headers.get("x-clickhouse-exception-code", ""))


def holds(engine: ClickHouseProcess, blocks: set[int]) -> bool:
    """Whether these blocks and no others are there, each whole and once, to the last byte."""
    return engine.sql(WHOLE) == "\n".join(f"{block}\t{ROWS}\t{ROWS * 128}"
                                          for block in sorted(blocks))


def twice(engine: ClickHouseProcess, blocks: set[int]) -> int:
    """How many blocks are there twice; all others are there once, and each time whole."""
    found = [tuple(map(int, line.split("\t"))) for line in engine.sql(WHOLE).split("\n")]
    assert {block for block, _, _ in found} == blocks
    assert all(rows in (ROWS, 2 * ROWS) and size == 128 * rows for _, rows, size in found)
    return sum(rows == 2 * ROWS for _, rows, _ in found)


def tokens_known(home: Path) -> int:
    """Of how many blocks the table's log says the token."""
    logs = sorted((home / "clickhouse/data/kairos/kept/deduplication_logs").glob("*.txt"))
    lines = [line.split("\t") for log in logs
             for line in log.read_text("utf-8", "replace").splitlines()]
    told = {fields[2]: fields[0] for fields in lines if len(fields) == 3}    # others were cut short
    return sum(kind == "1" for kind in told.values())


def test_rows_are_refused_before_the_disk_is_full_and_taken_when_space_is_back(
        disk: Path) -> None:
    with serving(disk / "home", KAIROS_CLICKHOUSE_FREE_MB_MIN=str(FLOOR_MB)) as engine:
        taken = set()
        for block in range(2 * DISK_MB):
            if code := insert(engine, block):
                break
            taken.add(block)
        assert (code, len(taken) > 20) == ("243", True)
        assert shutil.disk_usage(disk).free >= FLOOR_MB // 2 << 20
        assert holds(engine, taken)
        engine.sql("TRUNCATE TABLE kept")
        assert insert(engine, block) == ""
        assert holds(engine, {block})


def test_what_others_take_from_the_disk_damages_nothing_that_was_acknowledged(
        disk: Path) -> None:
    """Another process takes the last byte and gives it back, again and again; there is no floor."""
    over = threading.Event()

    def filling() -> None:
        with open(disk / "filler", "wb") as filler:
            while not over.wait(0.01):
                space = os.statvfs(disk)
                with suppress(OSError):                  # the engine was quicker
                    os.posix_fallocate(filler.fileno(), 0, max(1, space.f_bavail * space.f_frsize))
                over.wait(0.004)
                filler.truncate(0)

    with serving(disk / "home", KAIROS_CLICKHOUSE_FREE_MB_MIN="2") as engine:
        filler = threading.Thread(target=filling)
        filler.start()
        try:
            codes: dict[int, str] = {}
            while len(codes) < 80 and list(codes.values()).count("243") < 5:
                codes[len(codes)] = insert(engine, len(codes))
        finally:
            over.set()
            filler.join()
        assert "243" in codes.values(), "the disk was never full: this proves nothing"
        for block in [block for block, code in codes.items() if code]:
            assert insert(engine, block) == "", "its token was not used up"
        assert holds(engine, set(codes))
        forgotten = len(codes) - tokens_known(disk / "home")
        for block in codes:
            assert insert(engine, block) == ""
        assert twice(engine, set(codes)) <= forgotten, "a token that was used up is known"


@contextmanager
def cut_short(engine: ClickHouseProcess, file_bytes: int) -> Iterator[None]:
    """The system refuses to write more into any file of the engine, as a full disk does."""
    assert engine.process is not None
    soft, hard = resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (file_bytes, hard))
    try:
        yield
    finally:
        resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("file_bytes", [1_000, 100_000, 1_000_000])
def test_an_insert_that_was_cut_short_is_refused_and_can_be_sent_again(
        tmp_path: Path, file_bytes: int) -> None:
    with serving(tmp_path / "home") as engine:
        assert insert(engine, 1) == ""
        with cut_short(engine, file_bytes):
            answer = engine.post(b"INSERT INTO kept SELECT 7, number, randomPrintableASCII(128) "
                                 b"FROM numbers(20000)")
            assert answer.headers["x-clickhouse-exception-code"] == "243", answer.text
            assert insert(engine, 2) == "243"
            assert holds(engine, {1}), "nothing of it is in the way of a reader"
        assert insert(engine, 2) == "" == insert(engine, 2)
        assert holds(engine, {1, 2})


def test_a_merge_that_was_cut_short_is_given_up_and_its_rows_are_kept(tmp_path: Path) -> None:
    with serving(tmp_path / "home") as engine:
        for block in (1, 2, 3):
            assert insert(engine, block) == ""
        with cut_short(engine, 2_000_000):
            engine.sql("OPTIMIZE TABLE kept FINAL")
            assert engine.post(WHOLE.encode()).status_code != 200, \
                "the engine notices by itself: then this file has nothing to do"
            assert insert(engine, 4) == ""
            assert holds(engine, {1, 2, 3, 4})
        assert "going back to the parts it was made of" in engine.log()


def test_damage_that_nobody_saw_to_before_the_end_is_seen_to_at_the_next_start(
        tmp_path: Path) -> None:
    """Of a part of an insert that was never answered the token is free again."""
    with serving(tmp_path / "home") as engine:
        assert insert(engine, 1) == "" == insert(engine, 2)
        path = Path(engine.sql("SELECT path FROM system.parts WHERE table = 'kept' AND active "
                               "ORDER BY name DESC LIMIT 1"))
        engine.signal(signal.SIGKILL)
        os.truncate(path / "data.bin", 1000)
        engine.start()
        assert holds(engine, {1})
        assert insert(engine, 1) == "" == insert(engine, 2)
        assert holds(engine, {1, 2})
        assert engine.sql("SELECT reason FROM system.detached_parts") == "broken"


def test_inserts_at_the_same_time_are_each_in_or_refused(tmp_path: Path) -> None:
    """One look may find another's damaged part: whose it was must hear of it all the same."""
    with serving(tmp_path / "home") as engine, ThreadPoolExecutor(6) as pool:
        with cut_short(engine, 600_000):
            # A part of some 1 MiB is cut, a small one is not.
            large = {block: pool.submit(insert, engine, block) for block in range(12)}
            small = {block: pool.submit(insert_small, engine, block) for block in range(100, 140)}
            codes = {block: future.result() for block, future in {**large, **small}.items()}
        assert {codes[block] for block in large} == {"243"}
        assert "" in {codes[block] for block in small}, "not everything is refused"
        stored = {int(line) for line in engine.sql("SELECT DISTINCT block FROM kept").split()}
        assert stored.isdisjoint(large)
        assert stored >= {block for block in small if not codes[block]}


KINDS = {
    "plain": ("a Int64, s String", "MergeTree ORDER BY a"),
    "wide": ("a Int64, s String", "MergeTree ORDER BY a SETTINGS min_bytes_for_wide_part = 0"),
    "projected": ("a Int64, s String, PROJECTION p (SELECT s, count() GROUP BY s)",
                  "MergeTree ORDER BY a SETTINGS min_bytes_for_wide_part = 0"),
    "indexed": ("a Int64, s String, INDEX i s TYPE bloom_filter, INDEX m s TYPE minmax",
                "MergeTree ORDER BY a"),
    "nested": ("a Int64, s String, m Map(String, Int64) DEFAULT map('x', a), "
               "n Nullable(String) DEFAULT NULL, l LowCardinality(String) DEFAULT s, "
               "j JSON DEFAULT '{\"x\": 1}', r Array(Array(String)) DEFAULT [[s]]",
               "MergeTree ORDER BY a SETTINGS min_bytes_for_wide_part = 0"),
    "expiring": ("a Int64, s String, d DateTime DEFAULT now()",
                 "MergeTree ORDER BY a TTL d + INTERVAL 1 DAY"),
    "split": ("a Int64, s String", "ReplacingMergeTree PARTITION BY a % 3 ORDER BY a"),
    "unsorted": ("a Int64, s String", "MergeTree ORDER BY tuple()")}


def test_whole_parts_of_every_kind_are_left_alone(tmp_path: Path) -> None:
    """Whatever stands in a part beside its columns, and whatever made it."""
    with serving(tmp_path / "home") as engine:
        for name, (columns, made) in KINDS.items():
            engine.sql(f"CREATE TABLE {name} ({columns}) ENGINE = {made}")
            more = (f"INSERT INTO {name} (a, s) SELECT number + {{0}}, toString(number % 7) "
                    "FROM numbers(1000)")
            for at in (0, 1000, 2000):
                engine.sql(more.format(at))
            engine.sql(f"OPTIMIZE TABLE {name} FINAL")
            engine.sql(f"ALTER TABLE {name} DELETE WHERE a < 10", mutations_sync="2")
            engine.sql(f"ALTER TABLE {name} ADD COLUMN late String DEFAULT 'x'")
            engine.sql(f"ALTER TABLE {name} UPDATE late = 'y' WHERE a = 10", mutations_sync="2")
            engine.sql(more.format(3000))
            assert engine.sql(f"SELECT count(), sum(a) FROM {name}") == "3990\t7997955"
        assert engine.sql("SELECT count() FROM system.detached_parts") == "0"
        assert "cut" not in engine.log()
