"""Odd files: whatever is in them, every row is accounted for and every fault has its line."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.kernel.errors import KairosError, MappingError
from streams.worlds.loading import load
from streams.worlds.mapping import Mapping
from streams.worlds.preparing import Prepared, prepare

VIEWS = """
name: views
tenant: shop
type: page_view
time: when
fields: {user_id: who}
properties: {note: note}
"""


def _mapping(tmp_path: Path, text: str) -> Mapping:
    path = tmp_path / "shop.yml"
    path.write_text(text, "utf-8")
    return load(path)


def run(tmp_path: Path, mapping: str, name: str, content: bytes, **options: Any,
        ) -> tuple[Prepared, list[dict[str, Any]], list[dict[str, Any]]]:
    """(prepared, events, rejects) of a file with `content`."""
    path, rejects = tmp_path / name, tmp_path / "rejects.jsonl"
    path.write_bytes(content)
    prepared = prepare(path, _mapping(tmp_path, mapping), folder=tmp_path / "runs",
                       rejects=rejects, **options)
    assert prepared.counts.adds_up, prepared.counts.as_dict()
    return (prepared, [json.loads(payload) for _, _, payload in prepared.events()],
            [json.loads(line) for line in rejects.read_text().splitlines()])


def csv(*lines: str, end: str = "\n") -> bytes:
    return end.join(lines).encode() + end.encode()


def test_an_empty_file_holds_no_rows(tmp_path: Path) -> None:
    prepared, events, rejects = run(tmp_path, VIEWS, "a.csv", b"")
    assert (prepared.counts.read, events, rejects) == (0, [], [])


def test_a_file_with_only_a_header_holds_no_rows(tmp_path: Path) -> None:
    assert run(tmp_path, VIEWS, "a.csv", b"who,when,note\n")[0].counts.read == 0


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(MappingError) as fault:
        run(tmp_path, VIEWS, "a.csv", b"whom,when,note\n1,2020-01-01,x\n")
    assert "no column 'who'" in fault.value.fault
    assert "did you mean 'whom'" in fault.value.remedy and "when, note" in fault.value.remedy
    assert fault.value.line == 6


def test_a_column_that_occurs_twice_must_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="several times"):
        run(tmp_path, VIEWS, "a.csv", b"who,when,note,who\n1,2020-01-01,x,2\n")
    _, events, _ = run(tmp_path, VIEWS.replace("user_id: who", "user_id: 'who#2'"), "a.csv",
                       b"who,when,note,who\n1,2020-01-01,x,2\n")
    assert events[0]["user_id"] == "2"


@pytest.mark.parametrize(("name", "content"), [
    ("byte-order mark", b"\xef\xbb\xbf" + csv("who,when,note", "ann,2020-01-01,hi")),
    ("carriage returns", csv("who,when,note", "ann,2020-01-01,hi", end="\r\n")),
    ("semicolons", csv("who;when;note", "ann;2020-01-01;hi")),
    ("tabs", csv("who\twhen\tnote", "ann\t2020-01-01\thi")),
    ("quoted header", csv('"who","when","note"', '"ann","2020-01-01","hi"')),
    ("blank lines", csv("who,when,note", "", "ann,2020-01-01,hi", "")),
    ("no line end at the end", b"who,when,note\nann,2020-01-01,hi"),
    ("a delimiter at the end of rows", csv("who,when,note", "ann,2020-01-01,hi,")),
    ("utf-16", csv("who,when,note", "ann,2020-01-01,hi").decode().encode("utf-16")),
    ("gzip", gzip.compress(csv("who,when,note", "ann,2020-01-01,hi"), mtime=0)),
    ("spaces around names", csv("who , when, note", "ann,2020-01-01,hi")),
])
def test_a_csv_file_reads_the_same_however_it_is_written(
        tmp_path: Path, name: str, content: bytes) -> None:
    _, events, rejects = run(tmp_path, VIEWS, "a.csv", content)
    assert not rejects, name
    assert [(e["user_id"], e["event_ms"], e["properties"]["note"]) for e in events] == [
        ("ann", 1577836800000, "hi")], name


def test_a_quoted_line_break_belongs_to_its_row_and_lines_are_counted_on(tmp_path: Path) -> None:
    _, events, rejects = run(tmp_path, VIEWS, "a.csv", csv(
        "who,when,note", 'ann,2020-01-01,"two', 'lines"', "bob,never,x"))
    assert events[0]["properties"]["note"] == "two\nlines"
    assert [(r["line"], r["reason"], r["column"]) for r in rejects] == [(4, "bad_time", "when")]


def test_a_quote_that_is_never_closed_costs_its_own_line_only(tmp_path: Path) -> None:
    prepared, events, rejects = run(tmp_path, VIEWS, "a.csv", csv(
        "who,when,note", 'ann,2020-01-01,"open', "bob,2020-01-02,x", "cid,2020-01-03,y"))
    assert [e["user_id"] for e in events] == ["bob", "cid"]
    assert [(r["line"], r["reason"]) for r in rejects] == [(2, "bad_csv")]
    assert prepared.counts.read == 3


def test_rows_of_the_wrong_width_are_rejected(tmp_path: Path) -> None:
    _, events, rejects = run(tmp_path, VIEWS, "a.csv", csv(
        "who,when,note", "ann", "ann,2020-01-01,x,y", "ann,2020-01-01,x"))
    assert len(events) == 1
    assert [(r["line"], r["reason"]) for r in rejects] == [(2, "wrong_width"), (3, "wrong_width")]


def test_text_in_another_encoding_is_rejected_with_the_remedy_and_read_when_told(
        tmp_path: Path) -> None:
    content = "who,when,note\nann,2020-01-01,Café\n".encode("latin-1")
    _, events, rejects = run(tmp_path, VIEWS, "a.csv", content)
    assert not events and rejects[0]["reason"] == "bad_encoding"
    assert "latin-1" in rejects[0]["detail"]
    _, events, _ = run(tmp_path, VIEWS + "file: {encoding: latin-1}\n", "a.csv", content)
    assert events[0]["properties"]["note"] == "Café"


def test_a_huge_line_is_rejected_and_its_neighbours_are_read(tmp_path: Path) -> None:
    small = VIEWS + "file: {row_bytes_max: 2000}\n"
    _, events, rejects = run(tmp_path, small, "a.csv", csv(
        "who,when,note", "ann,2020-01-01,x", f"bob,2020-01-01,{'y' * 5000}", "cid,2020-01-01,z"))
    assert [e["user_id"] for e in events] == ["ann", "cid"] and rejects[0]["line"] == 3
    rows = [{"who": "ann", "when": "2020-01-01"}, {"who": "x" * 9000, "when": "2020-01-01"},
            {"who": "cid", "when": "2020-01-01"}]
    _, events, rejects = run(tmp_path, small, "a.jsonl", csv(*map(json.dumps, rows)))
    assert [e["user_id"] for e in events] == ["ann", "cid"]
    assert [(r["line"], r["reason"]) for r in rejects] == [(2, "too_large")]


def test_json_lines_that_are_none_are_rejected_line_by_line(tmp_path: Path) -> None:
    _, events, rejects = run(tmp_path, VIEWS, "a.jsonl", (
        b'\xef\xbb\xbf{"who":"ann","when":1577836800,"note":null}\n\n{"who":\n[1]\nnull\n\xff\n'
        b'{"who":7,"when":"1577836800000","note":{"a":1}}\n{"who":7.0,"when":"1577836800000"}\n'))
    assert [e["user_id"] for e in events] == ["ann", "7"]
    assert [(r["line"], r["reason"]) for r in rejects] == [
        (3, "bad_json"), (4, "bad_json"), (5, "bad_json"), (6, "bad_json"), (7, "wrong_type")]


def test_a_json_array_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(KairosError, match="jq"):
        run(tmp_path, VIEWS, "a.json", b'[{"who":1}]')


def test_a_truncated_parquet_file_is_one_clear_error(tmp_path: Path) -> None:
    table = pa.table({"who": ["ann"], "when": ["2020-01-01"], "note": ["x"]})
    pq.write_table(table, tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(KairosError, match="Parquet"):
        run(tmp_path, VIEWS, "a.parquet", whole[:-20])


def test_parquet_types_become_what_they_mean(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({
        "who": pa.array([13085.0, None, float("nan")]),
        "when": pa.array([0, 1, 2], pa.timestamp("us")), "note": ["a", None, ""]}), path)
    prepared, events, _ = run(tmp_path, VIEWS, "a.parquet", path.read_bytes())
    assert [e.get("user_id") for e in events] == ["13085", None, None]
    assert [e["event_ms"] for e in events] == [0, 0, 0] and prepared.counts.events == 3


@pytest.mark.parametrize(("form", "text", "expected"), [
    ("auto", "2020-01-01T00:00:00Z", 1577836800000), ("auto", "20200101", 1577836800000),
    ("auto", "2020-01-01 01:00:00+01:00", 1577836800000), ("auto", "1577836800", 1577836800000),
    ("auto", "1577836800000", 1577836800000), ("unix_s", "1577836800.5", 1577836800500),
    ("auto", "1.5778368e9", 1577836800000),
    ("unix_ms", "1577836800000", 1577836800000), ("unix_us", "1577836800000000", 1577836800000),
    ("unix_ns", "1577836800000000000", 1577836800000), ("days", "18262", 1577836800000),
    ("days", "18262.0", 1577836800000), ("%d/%m/%Y %H:%M", "01/01/2020 00:00", 1577836800000),
    ("iso", "2020-01-01", 1577836800000), ("iso", "01/02/2020", None), ("auto", "soon", None),
    ("unix_s", "1577836800000", None), ("unix_s", "nan", None), ("auto", "-", None),
    ("days", "2020-01-01", None), ("unix_s", "", None),
])
def test_times_are_read_as_the_mapping_says_or_rejected(
        tmp_path: Path, form: str, text: str, expected: int | None) -> None:
    mapping = VIEWS.replace("time: when", f'time: {{column: when, format: "{form}"}}')
    _, events, rejects = run(tmp_path, mapping, "a.csv", csv("who,when,note", f"ann,{text},x"))
    if expected is None:
        assert not events and rejects[0]["reason"] in ("bad_time", "missing_time")
    else:
        assert not rejects and events[0]["event_ms"] == expected


def test_a_time_zone_and_two_columns_make_one_moment(tmp_path: Path) -> None:
    mapping = VIEWS.replace("time: when", 'time: {column: [day, hour], format: "%Y-%m-%d %H:%M", '
                            "zone: Europe/London}")
    _, events, _ = run(tmp_path, mapping, "a.csv", csv(
        "who,day,hour,note", "ann,2010-07-01,12:00,x", "ann,2010-01-01,12:00,x"))
    assert [e["event_ms"] for e in events] == [1262347200000, 1277982000000]


SALES = """
tenant: shop
currency: EUR
type: purchase
time: when
fields: {user_id: who, order_id: order}
group: {by: order, same: who}
lines: {item_id: item, quantity: n, price: price}
numbers: {decimal: ",", thousands: ".", strip: "€ "}
"""


def test_rows_with_one_key_are_one_purchase_wherever_they_stand(tmp_path: Path) -> None:
    prepared, events, rejects = run(tmp_path, SALES, "a.csv", csv(
        "order;who;when;item;n;price", "1;ann;2020-01-02;a;1;€ 1.000,50", "2;bob;2020-01-01;b;2;3",
        "1;ann;2020-01-02;a;1;€ 1.000,50", "1;cid;2020-01-02;c;1;1", "1;ann;2020-01-02;d;one;1",
        ";ann;2020-01-02;d;1;1"))
    assert [(e["order_id"], len(e["lines"])) for e in events] == [("2", 1), ("1", 2)]
    assert events[1]["lines"][0] == {"item_id": "a", "quantity": 1.0, "price": 1000.5}
    assert [(r["line"], r["reason"], r["column"]) for r in rejects] == [
        (5, "group_disagrees", "who"), (6, "not_a_number", "n"), (7, "missing_key", "order")]
    assert prepared.counts.produced == 3 and prepared.counts.events == 2


@pytest.mark.parametrize(("text", "number"), [
    ("1e6", 1e6), ("1_000", None), ("inf", None), ("nan", None), (" 7 ", 7.0), ("0x10", None),
    ("-3", -3.0), ("1,5", None), ("9" * 400, None)])
def test_numbers_written_as_text_are_numbers_or_rejects(
        tmp_path: Path, text: str, number: float | None) -> None:
    mapping = VIEWS.replace("{user_id: who}", "{user_id: who, value: note}")
    _, events, rejects = run(tmp_path, mapping, "a.csv",
                             csv("who,when,note", f'ann,2020-01-01,"{text}"'))
    assert ([e["value"] for e in events] == [number]) if number is not None else (
        [r["reason"] for r in rejects] == ["not_a_number"])


def test_exact_duplicates_have_one_id_unless_told_apart(tmp_path: Path) -> None:
    content = csv("who,when,note", *["ann,2020-01-01,x"] * 3, "ann,2020-01-01,y")
    same = [e["event_id"] for e in run(tmp_path, VIEWS, "a.csv", content)[1]]
    assert len(same) == 4 and len(set(same)) == 2
    assert same == [e["event_id"] for e in run(tmp_path, VIEWS, "b.csv", content)[1]]
    apart = run(tmp_path, VIEWS + "duplicates: distinct\n", "a.csv", content)[1]
    assert len({e["event_id"] for e in apart}) == 4


@pytest.mark.parametrize(("policy", "expected"), [
    ("missing_customer: keep", (1, None, None)), ("missing_customer: reject", (0, None, None)),
    ("anonymous: note", (1, None, "x"))])
def test_a_row_without_a_customer_goes_where_the_mapping_says(
        tmp_path: Path, policy: str, expected: tuple[int, str | None, str | None]) -> None:
    _, events, rejects = run(tmp_path, f"{VIEWS}{policy}\n", "a.csv",
                             csv("who,when,note", ",2020-01-01,x"))
    found = events[0] if events else {}
    assert (len(events), found.get("user_id"), found.get("anonymous_id")) == expected
    assert [r["reason"] for r in rejects] == ([] if events else ["no_customer"])


def test_lists_explode_and_nested_paths_are_followed(tmp_path: Path) -> None:
    mapping = """
type: {column: log.list.kind, values: {v: product_view}}
time: {column: log.list.at, format: unix_ms}
explode: log.list
fields: {anonymous_id: session.id, item_id: log.list.item, category: tags.0}
"""
    row = {"session": {"id": 5}, "tags": ["a"],
           "log": {"list": [{"kind": "v", "at": 5, "item": 1}, {"kind": "w", "at": 6}, 3]}}
    prepared, events, rejects = run(tmp_path, mapping, "a.jsonl", csv(
        json.dumps(row), json.dumps(row | {"log": {"list": []}}), json.dumps(row | {"log": 1})))
    assert [(e["anonymous_id"], e["item_id"], e["category"]) for e in events] == [("5", "1", "a")]
    assert [(r["line"], r["reason"]) for r in rejects] == [
        (1, "unknown_type"), (1, "unknown_type"), (3, "wrong_type")]
    assert prepared.counts.left_out == {"empty list": 1} and prepared.counts.read == 5


def test_an_order_with_a_list_of_items_is_one_purchase(tmp_path: Path) -> None:
    mapping = """
type: purchase
time: at
fields: {user_id: u}
lines: {items: items, item_id: sku, quantity: n, total: cost}
"""
    row = {"u": 1, "at": 1577836800, "items": [{"sku": "a", "n": 2, "cost": 5}, {"sku": "b"}]}
    _, events, rejects = run(tmp_path, mapping, "a.jsonl", csv(
        json.dumps(row), json.dumps(row | {"items": "none"})))
    assert events[0]["lines"] == [{"item_id": "a", "quantity": 2.0, "price": 2.5},
                                  {"item_id": "b", "quantity": 1.0, "price": 0.0}]
    assert rejects[0]["reason"] == "wrong_type"


def test_the_catalogue_takes_the_first_facts_that_are_facts(tmp_path: Path) -> None:
    mapping = SALES + "catalogue: {item_id: item, title: t, price: price}\n"
    prepared, _, _ = run(tmp_path, mapping, "a.csv", csv(
        "order;who;when;item;n;price;t", "1;a;2020-01-03;x;1;5;Later", "2;a;2020-01-02;x;1;4;First",
        "3;a;2020-01-01;x;1;0;Gift", "4;a;2020-01-01;y;1;1;"))
    assert [(r["item_id"], r["title"], r["price_micros"], r["as_of_ms"])
            for r in prepared.catalogue] == [("x", "First", 4_000_000, 1577836800000)]


@pytest.mark.parametrize(("name", "content", "says"), [
    ("a.csv", random.Random(1).randbytes(5_000), "holds binary data"),
    ("a", random.Random(2).randbytes(300), "holds binary data"),
    ("a.jsonl", random.Random(3).randbytes(3_000), "holds binary data"),
    ("a.csv.gz", gzip.compress(random.Random(4).randbytes(3_000)), "holds binary data"),
    ("a.parquet", random.Random(5).randbytes(300), "not a readable Parquet file"),
    ("a.gz", b"\x1f\x8b" + random.Random(6).randbytes(300), "cannot be read"),
    ("a.csv", "who,when,note\n1,2020-01-01,x\n".encode("utf-16-le"), "set file.encoding"),
    ("a.csv", b"PK\x03\x04" + random.Random(7).randbytes(300), "save the sheet as CSV"),
    ("a.jsonl.gz", gzip.compress(b'{"who":1}\n' * 9_000)[:-40], "is it complete"),
    ("a.json", b'{\n "who": 1\n}\n', "jq -c ."),
])
def test_a_file_that_is_no_history_is_refused_as_a_whole(
        tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(KairosError) as fault:
        run(tmp_path, VIEWS, name, content)
    assert says in str(fault.value) and str(fault.value).isprintable()


def test_a_list_of_plain_values_is_a_property_and_an_object_is_not(tmp_path: Path) -> None:
    lines = [{"who": 1, "when": "2020-01-01", "note": ["a", 2, None, True]},
             {"who": 2, "when": "2020-01-01", "note": []},
             {"who": 3, "when": "2020-01-01", "note": {"size": "L"}},
             {"who": 4, "when": "2020-01-01", "note": [{"size": "L"}]}]
    _, events, rejects = run(tmp_path, VIEWS, "a.jsonl",
                             b"\n".join(json.dumps(line).encode() for line in lines))
    assert [event["properties"]["note"] for event in events] == ['["a",2,null,true]', "[]"]
    assert [(r["line"], r["reason"], r["column"]) for r in rejects] == [
        (3, "wrong_type", "note"), (4, "wrong_type", "note.0")]
    assert "note.size" in rejects[0]["detail"] and "note.0.size" in rejects[1]["detail"]


@pytest.mark.parametrize(("mapping", "row", "remedy"), [
    (VIEWS, "ann,13/04/2020,x", "format: '%d/%m/%Y'"),
    (VIEWS.replace("{user_id: who}", "{user_id: who, value: note}"), "ann,2020-01-01,\"12,5\"",
     "numbers: {decimal: ','}")])
def test_a_value_written_in_another_way_names_the_remedy(
        tmp_path: Path, mapping: str, row: str, remedy: str) -> None:
    _, _, rejects = run(tmp_path, mapping, "a.csv", csv("who,when,note", row))
    assert remedy in rejects[0]["detail"]


def test_a_byte_order_mark_that_does_not_hold_is_named(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfwho;when;note\n1;2020-01-01;M\xfcnchen\n"
    _, _, rejects = run(tmp_path, VIEWS + "file: {encoding: latin-1}\n", "a.csv", content)
    assert "take off its first three bytes" in rejects[0]["detail"]
    _, events, _ = run(tmp_path, VIEWS + "file: {encoding: latin-1}\n", "a.csv", content[3:])
    assert events[0]["properties"]["note"] == "München"


def test_a_limit_reads_so_many_rows_and_no_more(tmp_path: Path) -> None:
    content = csv("who,when,note", *[f"{i},2020-01-01,x" for i in range(9)])
    assert run(tmp_path, VIEWS, "a.csv", content, rows_max=4)[0].counts.read == 4


_CELL = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(_CELL, min_size=0, max_size=5), max_size=12))
def test_no_csv_is_too_odd_to_be_accounted_for(
        tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    folder = tmp_path_factory.mktemp("odd")
    content = csv("who,when,note", *[",".join(cells) for cells in rows])
    prepared, events, rejects = run(folder, VIEWS, "a.csv", content)
    assert prepared.counts.read == len(events) + len(rejects)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=400))
def test_no_bytes_at_all_break_the_reading_of_json_lines(
        tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("odd")
    try:
        prepared, events, rejects = run(folder, VIEWS, "a.jsonl", b"{}\n" + content)
    except KairosError:
        return
    assert prepared.counts.read == len(events) + len(rejects)
