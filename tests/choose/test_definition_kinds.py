"""Definitions of the newer kinds: what is accepted means what it says, faults have a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.choose.definitions import check, load
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS

RFM = ("kind: rfm, event: purchase, of: value, window: 30d, recency: [1h, 1d, 7d, 30d], "
       "frequency: [2, 3, 4, 5], money: [1, 2.5, 30, 400]")


def folder(path: Path, body: str) -> Path:
    (path / "features.yml").write_text(
        f"version: 1\npurpose: personalise\nfeatures:\n  views: {{event: view, kind: lifetime}}\n"
        f"  it: {{{body}}}\n")
    (path / "segments.yml").write_text(
        "version: 1\nsegments:\n  keen: {feature: views, at_least: 3}\n")
    return path


def test_what_is_declared_is_what_is_kept(tmp_path: Path) -> None:
    rfm = load(folder(tmp_path, RFM)).features[1]
    assert rfm.cuts == ((HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS), (2, 3, 4, 5),
                        (1_000_000, 2_500_000, 30_000_000, 400_000_000))
    stay = load(folder(tmp_path, "event: '*', kind: session, of: length, gap: 30m")).features[1]
    assert (stay.of, stay.gap_ms) == (("length",), 30 * MINUTE_MS)


@pytest.mark.parametrize(("body", "said", "remedy"), [
    ("event: view, kind: sessions, window: 7d", "'features.it.gap' is missing", "gap:"),
    ("event: view, kind: count, window: 7d, gap: 1h", "gap' does not go with this kind", "leave"),
    ("event: view, kind: session, gap: 1h", "asked for something", "length, events, value or"),
    ("event: view, kind: session, gap: 1h, of: length, window: 7d", "window' does not", "leave"),
    ("event: view, kind: sum, window: 1h, of: length", "only a session has length", "value"),
    ("event: view, kind: sessions, window: 90d, gap: 30m", "more than 1500 gaps", "longer gap"),
    ("event: view, kind: sessions, window: 1h, gap: 5s", "gap is 5s", "write 1m to 1d"),
    (RFM.replace(", money: [1, 2.5, 30, 400]", ""), "'features.it.money' is missing", "4 numbers"),
    (RFM.replace("1d, 7d", "7d, 1d"), "recency' does not rise", "least first"),
    (RFM.replace("[2, 3, 4, 5]", "[2, 3, 4]"), "features.it.frequency", ""),
    (RFM.replace("of: value, ", ""), "a rfm is of a number", "value or quantity"),
    ("event: view, kind: lifetime, frequency: [1, 2, 3, 4]", "frequency' does not go", "leave")])
def test_faults_have_file_line_and_remedy(body: str, said: str, remedy: str,
                                          tmp_path: Path) -> None:
    faults = [str(each) for each in check(folder(tmp_path, body)) if "features.yml" in str(each)]
    assert len(faults) == 1, faults
    assert "features.yml:5" in faults[0] and said in faults[0] and remedy in faults[0]
