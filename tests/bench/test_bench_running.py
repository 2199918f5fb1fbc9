"""How the benchmark reads progress, CPU and outputs: real processes, firings at known times."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path

import pytest

from bench.signal import data, report
from bench.signal.running import expect, progress
from bench.signal.systems import Command, registry
from bench.signal.table import options
from bench.signal.watching import Processes
from bench.signal.workloads import FLOOR, TWINS, WORKLOADS


class Fired:
    """Firings as a reader has them: (time of append, user, ms)."""

    def __init__(self, at: list[tuple[int, str, int]]) -> None:
        self.at = at


def test_progress_counts_the_events_up_to_each_firing_of_a_partition() -> None:
    stream = data.make("zipf", events=9_000, users=300)
    fired = Fired([(1_000 + number, user, ms)
                   for number, (user, _, ms, _) in enumerate(stream.events()) if number % 3 == 2])
    (begin_ms, begin), (end_ms, end) = progress(stream, "W1", fired)  # type: ignore[arg-type]
    assert 3_000 <= begin < 3_050
    assert 3_990 <= begin_ms < 4_100
    assert 8_900 < end <= 9_000
    assert end_ms == 1_000 + 8_999


def test_of_many_people_everybody_comes_before_anything_is_measured() -> None:
    stream = data.make("many", events=9_000, users=5_000)
    assert len(set(stream.user[:5_000].tolist())) == stream.warm == 5_000
    fired = Fired([(1_000 + number, user, ms)
                   for number, (user, _, ms, _) in enumerate(stream.events()) if number % 3 == 2])
    (_, begin), (_, end) = progress(stream, "W1", fired)  # type: ignore[arg-type]
    assert 5_000 <= begin < 5_050 and 8_900 < end <= 9_000


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("source", ("zipf", "many", "otto"))
def test_whoever_the_twin_does_not_read_fires_nothing(source: str, workload: str) -> None:
    stream = data.make(source, events=12_000, users=600)
    found = expect(workload, stream).firings
    assert found and found == set(TWINS[workload](stream.events()))


def test_progress_without_a_firing_is_none() -> None:
    stream = data.make("zipf", events=100, users=10)
    assert progress(stream, "W2", Fired([])) == ((0, 0), (0, 0))  # type: ignore[arg-type]


def test_the_floor_marks_every_thousandth_record_of_a_partition() -> None:
    stream = data.make("zipf", events=50_000, users=1_000)
    marks = expect(FLOOR, stream).firings
    assert len(marks) == sum(end // 1000 for end in stream.ends())


def test_cpu_and_memory_are_those_of_all_processes_and_their_children(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\n"
    code = f"import subprocess, sys\n{burn}subprocess.run([sys.executable, '-c', {burn!r}])"
    code += "\nimport time; time.sleep(60)"
    processes = Processes([Command((sys.executable, "-c", code), dict(os.environ))] * 2,
                          tmp_path / "log")
    try:
        deadline = time.monotonic() + 60
        while (not processes.samples or processes.samples[-1][1] < 1.1) \
                and time.monotonic() < deadline:
            processes.sample()
            time.sleep(0.01)
        assert processes.samples[-1][1] >= 1.1
        assert processes.rss_peak_mb() > 10
        assert processes.all_alive()
        last_ms, last_s = processes.samples[-1]
        assert processes.cpu_at(last_ms + 5_000) == last_s
        assert processes.cpu_at(processes.samples[0][0] - 5_000) == processes.samples[0][1]
    finally:
        processes.kill()
    assert not processes.all_alive()


def test_the_last_words_of_a_system_are_kept(tmp_path: Path) -> None:
    processes = Processes([Command((sys.executable, "-c", "raise SystemExit('no broker')"),
                                   dict(os.environ))], tmp_path / "log")
    while processes.all_alive():
        time.sleep(0.01)
    assert processes.last_words() == "no broker"


@pytest.mark.parametrize("name", list(registry()))
def test_a_system_says_what_it_runs_and_why_it_leaves_something_out(name: str) -> None:
    system = registry()[name]
    assert system.name == name and system.durable and system.forms
    assert 0 < system.events_share <= 1
    left = set(WORKLOADS) - set(system.workloads)
    assert name == FLOOR or bool(left) == bool(system.why_not)


def test_the_table_says_which_outputs_differ() -> None:
    from bench.signal.running import Result

    good = Result("flink-heap", "W2", 1000, 50_000.0, 6.5, 7.0, 9.0, 700.0, 0, 50, 10, 0, 0, 0,
                  0.05)
    brief = Result("pathway", "W2", 1000, math.nan, math.nan, 7.0, 9.0, 700.0, 0, 50, 10, 0, 0, 0,
                   0.05)
    bad = Result("bytewax", "W2", 1000, 10_000.0, 80.0, 90.0, 99.0, 400.0, 0, 50, 9, 2, 1, 3, 0.06)
    asked = options().parse_args([])
    findings = report.Findings(asked, {"bytewax": "bytewax 1"},
                               [("zipf", good), ("zipf", good), ("zipf", bad), ("zipf", brief)])
    findings.fail("pathway", "it ended by itself; its log ends with\n  File\nKeyError: 3")
    text = report.text(findings)
    assert "- failed: pathway: it ended by itself; its log ends with … KeyError: 3" in text
    assert "| flink-heap | checkpoints | 1,000 | 50,000 [50,000–50,000] | 6.50 [6.50–6.50]" in text
    assert "| DIFFER: 2 missing, 1 unasked, 3 repeated | 0.060 |" in text
    assert "| too short a run | too short a run | 7.00 | 9.00 |" in text
    assert "no W4: its event clock" in text
    findings.unfinished.add("W2")           # ended early: a table with rows missing is none
    assert "## W2" not in report.text(findings) and "- failed" in report.text(findings)
