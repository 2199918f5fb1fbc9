"""RESULTS.md of the signal benchmark: put together in pieces, each saying what it is of."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from bench.signal.phases import REST, START, Stopwatch
from bench.signal.sections import VERSIONS, merged, parsed
from bench.signal.systems import registry
from bench.signal.table import QUICK, estimate_s, parse

ORDER = ("Floor", "W1", "W2", "Latency", VERSIONS)


def test_a_section_measured_anew_replaces_its_own_and_no_other() -> None:
    first = merged("# T\n\nhow", "", {"W2: all": "old two", "Floor": "old floor"}, ORDER)
    second = merged("# T\n\nhow, better", first, {"W2: all": "new two", "W1: some": "one"}, ORDER)
    assert parsed(second) == {"Floor": "old floor", "W1: some": "one", "W2: all": "new two"}
    assert list(parsed(second)) == ["Floor", "W1: some", "W2: all"]
    assert second.startswith("# T\n\nhow, better\n\n## Floor\n\nold floor\n")
    assert merged("# T\n\nhow, better", second, {}, ORDER) == second


def test_versions_stay_by_name_and_failures_are_those_of_the_last_run() -> None:
    before = merged("# T", "", {VERSIONS: "- a: 1\n- b: 1\n- failed: b: broke"}, ORDER)
    after = merged("# T", before, {VERSIONS: "- b: 2\n- c: 1"}, ORDER)
    assert parsed(after)[VERSIONS].splitlines() == ["- a: 1", "- b: 2", "- c: 1"]


def test_phases_leave_out_what_lies_further_in(tmp_path: Path) -> None:
    class Road:
        def outer(self) -> None:
            _burn(0.02)
            self.inner()

        def inner(self) -> None:
            _burn(0.06)

    stopwatch = Stopwatch()
    stopwatch.wrap(Road, "outer", "outer")
    stopwatch.wrap(Road, "inner", lambda road: "inner")
    Road().outer()
    path = tmp_path / "said"
    stopwatch.save(path)
    said = json.loads(path.read_text())
    assert set(said) == {START, "outer", "inner", REST}
    assert said["inner"] >= 0.06 and 0.02 <= said["outer"] < said["inner"]


def _burn(cpu_s: float) -> None:
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        pass


def test_quick_is_small_and_writes_nothing_unless_told_otherwise() -> None:
    asked = parse(["--quick", "--events", "99"])
    assert asked.events == 99 and asked.keep_results and asked.interval == QUICK["interval"]
    assert not parse([]).keep_results and set(QUICK["systems"]) <= set(registry())


@pytest.mark.parametrize("words", [["--quick"], [], ["--repeats", "1", "--workloads", "W2"]])
def test_the_estimate_grows_with_what_is_asked(words: list[str]) -> None:
    asked, more = parse(words), parse([*words, "--repeats", "9"])
    systems = [registry()[name] for name in asked.systems]
    assert 0 < estimate_s(asked, systems[:1]) < estimate_s(asked, systems) < estimate_s(
        more, systems)
