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
    pieces = load(folder(tmp_path, RFM.replace("of: value", "of: quantity"))).features[1]
    assert pieces.cuts[2] == (1_000, 2_500, 30_000, 400_000)      # thousandths, as a row keeps them
    stay = load(folder(tmp_path, "event: '*', kind: session, of: length, gap: 30m")).features[1]
    assert (stay.of, stay.gap_ms) == (("length",), 30 * MINUTE_MS)


@pytest.mark.parametrize(("rule", "remedy"), [
    ("{feature: it, at_least: 3}", "write is: TEXT"),
    ("{feature: views, is: shoes}",
     "write one of at_least, at_most, above, below, equals, every"),
    ("{list: guests}", "make one: `kairos segments list`"),
    ("{feature: view, at_least: 3}", "there are it, views"),
    ("{segment: keen}", "there is no segment before it"),
    ("{feature: views, every: 0}", "write a number above 0"),
])
def test_a_segments_fault_has_the_remedy_that_mends_it(
        tmp_path: Path, rule: str, remedy: str) -> None:
    where = folder(tmp_path, "event: view, kind: most_frequent, of: category, window: 1d")
    (where / "segments.yml").write_text(f"version: 1\nsegments:\n  keen: {rule}\n")
    (fault,) = check(where)
    assert (fault.line, fault.remedy) == (3, remedy)


def test_properties_are_numbers_and_texts(tmp_path: Path) -> None:
    body = "event: view, kind: {kind}, of: property.tip-1, where: {{property.size: XL}}"
    total, first = (load(folder(tmp_path, body.format(kind=kind))).features[1]
                    for kind in ("sum, window: 30d", "most_frequent, window: 30d"))
    assert (total.number, total.where) == ("property.tip-1", ("property.size", "XL"))
    assert (first.number, first.of) == ("", ("property.tip-1",))


def test_texts_say_of_what_and_how_many(tmp_path: Path) -> None:
    body = "event: view, kind: {kind}, of: category, window: 30d"
    made = [load(folder(tmp_path, body.format(kind=kind))).features[1]
            for kind in ("most_frequent", "top_k", "unique_list, most: 7")]
    assert [(spec.value_is, spec.most) for spec in made] == [
        ("text", 1), ("texts", 3), ("texts", 7)]


@pytest.mark.parametrize(("rule", "said"), [
    ("{feature: it, at_least: 3}", "'at_least' does not go with it, which is a text"),
    ("{feature: it, has: shoes}", "'has' does not go with it, which is a text — write is: TEXT"),
    ("{feature: views, is: shoes}", "'is' does not go with views, which is a number"),
    ("{feature: it, is: 7}", "'is' takes a text"), ("{feature: it, is: []}", "'is' takes a text"),
    (f"{{feature: it, is: {'x' * 41}}}", "up to 40 bytes")])
def test_rules_ask_for_what_a_feature_is(rule: str, said: str, tmp_path: Path) -> None:
    folder(tmp_path, "event: view, kind: most_frequent, of: category, window: 30d")
    (tmp_path / "segments.yml").write_text(f"version: 1\nsegments:\n  s: {rule}\n")
    (fault,) = check(tmp_path)
    assert "segments.yml:3" in str(fault) and said in str(fault)


def test_a_ratio_is_of_numbers_and_rows_have_an_end(tmp_path: Path) -> None:
    folder(tmp_path, "event: view, kind: top_k, of: category, window: 30d, most: 5")
    features = tmp_path / "features.yml"
    whole = features.read_text()
    features.write_text(whole + "  per: {kind: ratio, of: [views, it]}\n")
    assert "features.yml:6" in str(check(tmp_path)[0]) and "'it' is a text" in str(check(tmp_path))
    features.write_text(whole + "".join(
        f"  t{n}: {{event: e{n}, kind: most_frequent, of: category, window: 30d}}\n"
        for n in range(15)))
    (fault,) = check(tmp_path)
    assert "row of every person, more than 16,384; most take it 1,056, t0 1,056" in str(fault)
    assert "features.yml:5" in str(fault) and "share a favourite's 1,032 bytes" in fault.remedy


@pytest.mark.parametrize(("body", "said", "remedy"), [
    ("event: view, kind: count, window: 7d, where: {}", "where has 0 fields", "exactly one"),
    ("event: view, kind: count, window: 7d, where: {category: a, country: DE}",
     "where has 2 fields", "exactly one"),
    ("event: view, kind: count, window: 7d, where: {size: XL}", "where.size' is not a field",
     "property.NAME"),
    ("event: view, kind: count, window: 7d, where: {property.size: 42}", "is a number", "quotes"),
    ("event: view, kind: sum, window: 7d, of: property.a b", "is not a name like", "property.size"),
    ("event: view, kind: distinct, window: 7d, of: value", "of' does not go with a distinct",
     "write of: item_id, category, source, currency, country or property.NAME"),
    ("event: view, kind: top_k, of: value, window: 7d", "of' does not go with a top_k", "category"),
    ("event: view, kind: unique_list, window: 7d", "of' does not go with a unique_list", "item_id"),
    ("event: view, kind: top_k, of: category, window: 7d, most: 6", "at most 5 texts", "most: 5"),
    ("event: view, kind: count, window: 7d, most: 6", "most' does not go with this", "leave"),
    ("event: view, kind: count, window: 7d, of: category", "a count takes no 'of'", "leave"),
    ("event: view, kind: most_frequent, of: category", "'features.it.window' is missing", "7d"),
    ("event: view, kind: sessions, window: 7d", "'features.it.gap' is missing", "gap:"),
    ("event: view, kind: count, window: 7d, gap: 1h", "gap' does not go with this kind", "leave"),
    ("event: view, kind: session, gap: 1h", "of' does not go with a session", "length, events,"),
    ("event: view, kind: session, gap: 1h, of: length, window: 7d", "window' does not", "leave"),
    ("event: view, kind: sum, window: 1h, of: length", "a sum is not of length",
     "write of: value, quantity or property.NAME"),
    ("event: view, kind: sum, window: 1h, of: price", "a sum is not of price",
     "write of: value, quantity or property.NAME"),
    ("event: view, kind: top_k, window: 1h, of: price", "of' does not go with a top_k",
     "write of: item_id, category, source, currency, country or property.NAME"),
    ("event: view, kind: sum, window: 1h, of: 7", "of is a number", "like value"),
    ("event: view, kind: unique_list, of: category, window: 7d, most: 50", "at most 16 texts",
     "most: 16 or less"),
    ("event: view, kind: top_k, of: category, window: 7d, most: 50", "at most 5 texts", "most: 5"),
    ("event: view, kind: decay, half_life: 60d, retention: 30d",
     "the half-life 60d is longer than the retention of 30d", "shorten the half_life"),
    ("event: view, kind: sessions, window: 90d, gap: 30m", "more than 1500 gaps", "longer gap"),
    ("event: view, kind: sessions, window: 1h, gap: 5s", "gap is 5s", "write 1m to 1d"),
    (RFM.replace(", money: [1, 2.5, 30, 400]", ""), "'features.it.money' is missing", "4 numbers"),
    (RFM.replace("1d, 7d", "7d, 1d"), "recency' does not rise", "least first"),
    (RFM.replace("[2, 3, 4, 5]", "[2, 3, 4]"), "features.it.frequency", ""),
    (RFM.replace("of: value, ", ""), "a rfm is of a number", "value, quantity or"),
    ("event: view, kind: lifetime, frequency: [1, 2, 3, 4]", "frequency' does not go", "leave")])
def test_faults_have_file_line_and_remedy(body: str, said: str, remedy: str,
                                          tmp_path: Path) -> None:
    faults = [str(each) for each in check(folder(tmp_path, body)) if "features.yml" in str(each)]
    assert len(faults) == 1, faults
    assert "features.yml:5" in faults[0] and said in faults[0] and remedy in faults[0]
