"""kairos catalogue: a shop's own file becomes facts, or says which line is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from schemas import contract
from streams.catalogue.facts import Facts, bind
from streams.catalogue.listing import item_record
from streams.cli.catalogue import catalogue
from streams.kernel.errors import ContractError, KairosError
from streams.pipeline import CATALOGUE

GOOD = {"item_id": "mug-7", "title": "Blue mug", "price": "12.50", "currency": "EUR"}


def record(**changes: Any) -> dict[str, Any]:
    return item_record({**GOOD, **changes}, tenant="shop", currency="", as_of_ms=1000)


def run(file: Path, *words: str) -> Result:
    return CliRunner().invoke(catalogue, [str(file), *words], standalone_mode=False)


def test_an_item_keeps_its_contract_and_can_be_stated() -> None:
    made = record(url="https://shop.example/mug", attributes={"low_stock": True})
    assert contract(CATALOGUE).decode(contract(CATALOGUE).encode(made)) == made
    facts = bind(made, ("item.title", "item.price", "item.url", "item.low_stock"), shop="s",
                 locale="en", now_ms=1000, age_ms_max=1)
    assert isinstance(facts, Facts)
    assert facts.texts["item.price"] == "€12.50" and facts.claims == {"item.low_stock"}


@pytest.mark.parametrize(("price", "micros"), [
    (12, 12_000_000), (0.1, 100_000), (" 3.5 ", 3_500_000), ("19.999", 19_999_000)])
def test_prices_are_whole_units(price: object, micros: int) -> None:
    assert record(price=price)["price_micros"] == micros


@pytest.mark.parametrize(("flag", "said"), [
    ("", True), (None, True), (True, True), ("no", False), (0, False), ("FALSE", False)])
def test_stock_is_read_from_flags(flag: object, said: bool) -> None:
    assert record(in_stock=flag)["in_stock"] is said


@pytest.mark.parametrize(("changes", "field"), [
    ({"item_id": ""}, "item_id"), ({"item_id": "x" * 201}, "item_id"), ({"title": " "}, "title"),
    ({"title": "see www.elsewhere.example"}, "title"), ({"title": ["a"]}, "title"),
    ({"price": "12,50"}, "price"), ({"price": 0}, "price"), ({"price": "nan"}, "price"),
    ({"price": True}, "price"), ({"currency": "euro"}, "currency"), ({"currency": ""}, "currency"),
    ({"url": "shop.example/mug"}, "url"), ({"url": "javascript:alert(1)"}, "url"),
    ({"in_stock": "maybe"}, "in_stock"), ({"attributes": "{"}, "attributes"),
    ({"attributes": [1]}, "attributes"), ({"titel": "Mug"}, "titel")])
def test_what_could_not_be_stated_is_a_fault_that_names_the_field(changes: dict[str, Any],
                                                                  field: str) -> None:
    with pytest.raises(ContractError) as caught:
        record(**changes)
    assert caught.value.field == field and caught.value.remedy


@pytest.mark.parametrize("text", [
    'item_id,title,price\na,Mug,1\nb,"Mug, blue",2\n',
    '{"item_id":"a","title":"Mug","price":1}\n\n{"item_id":"b","title":"Mug","price":2}\n',
    '[{"item_id":"a","title":"Mug","price":1},{"item_id":"b","title":"Mug","price":2}]'])
def test_three_forms_of_a_file_say_the_same(tmp_path: Path, text: str) -> None:
    file = tmp_path / "items"
    file.write_text("\ufeff" + text, "utf-8")
    result = run(file, "--check", "--currency", "EUR", "--json")
    assert json.loads(result.output) == {"tenant": "default", "items": 2, "published": False}


@pytest.mark.parametrize(("text", "said"), [
    ("", "holds no item"), ("item_id,title,price\n", "holds no item"),
    ("item_id,title,price\na,Mug,1\na,Cup,1\n", ":3: item_id 'a' stands in line 2 already"),
    ("item_id,title,price\na,Mug\n", ":2: has not as many values"),
    ("item_id,title,price\na,Mug,1,2\n", ":2: has not as many values"),
    ("item_id,title,price\na,Mug,x\n", ":2: price"),
    ('{"item_id":"a"\n', ":1: is not JSON"), ("[1]", ":1: is not an object"),
    ("[{]", "is not JSON")])
def test_a_bad_file_is_one_sentence_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "items"
    file.write_text(text, "utf-8")
    fault = run(file, "--check", "--currency", "EUR").exception
    assert isinstance(fault, KairosError) and said in fault.message and fault.remedy


def test_a_tenant_that_no_event_could_carry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "items").write_text("item_id,title,price,currency\na,Mug,1,EUR\n", "utf-8")
    for name in ("", "a/b c", "-x", "x" * 65):
        fault = run(tmp_path / "items", "--check", "--tenant", name).exception
        assert isinstance(fault, click.BadParameter) and "is no tenant" in fault.message


def test_a_file_that_is_not_there_or_no_text_is_a_fault(tmp_path: Path) -> None:
    assert isinstance(run(tmp_path / "none", "--check").exception, KairosError)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\x80")
    assert isinstance(run(tmp_path / "bytes", "--check").exception, KairosError)
