"""Playbook files: what loads, what does not, with which line and remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from streams.kernel.errors import PlaybookError
from streams.playbooks import form, loading
from streams.playbooks.difference import difference, lines_of
from streams.playbooks.model import Condition, Trigger

SHIPPED = sorted(Path(loading.__file__).parent.glob("shipped/*.yml"))
FEATURES = {"spend_30d", "product_views_1h", "orders_lifetime"}
STATED = {"item_views_7d", "shop"}
FIGURE = "figures: {item_views_7d: {says: 'Seen {figure} times.', at_least: 50, max_age: 2d}}"
SEGMENTS = {"new", "active", "vip", "lapsed"}
VALIDATOR = jsonschema.Draft202012Validator(form.json_schema())

BASE = {
    "playbook": "playbook: a-name",
    "trigger": "trigger: {event: {on: product_view}}",
    "purpose": "purpose: contact",
    "brief": "brief: Say hello.",
    "variants": "variants: {a: {strategy: reminder}}",
    "expires": "expires: 24h",
    "conversion": "conversion: {event: purchase, within: 3d}",
}

# key, its line (or several), and what it becomes
GOOD: list[tuple[str, str]] = [
    ("trigger", "trigger: {absence: {after: cart_add, without: purchase, within: 30m}}"),
    ("trigger", "trigger: {absence: {after: a, without: b, within: 1.5h, per: item_id}}"),
    ("trigger", "trigger: {event: {on: search, when: {feature: spend_30d, above: -1.5}}}"),
    ("trigger", "trigger: {edge: {when: {all: [{segment: vip}, {not: {segment: new}}]}}}"),
    ("trigger", "trigger: {edge: {when: {segment: vip}, rearm: {segment: new}}}"),
    ("trigger", "trigger: {score: {sum: [{feature: spend_30d, weight: 0.5}, {feature: "
                "product_views_1h, weight: -1}], at_least: 20, rearm_below: 10.5}}"),
    ("trigger", "trigger: {score: {sum: [{feature: spend_30d, weight: 1}], at_least: 20}}"),
    ("trigger", "trigger: {segment: {enters: vip}}"),
    ("trigger", "trigger: {back_in_stock: {}}"),
    ("trigger", "trigger: {price_drop: {at_least: 10%, seen: [wish], without: order, "
                "within: 7d}}"),
    ("trigger", "trigger: {schedule: {at: '09:00'}}"),
    ("trigger", "trigger: {schedule: {at: 17:45, on: [mon, thu], zone: Europe/Berlin, "
                "after: purchase, seen: 30d}}"),
    ("trigger", "trigger: {date: {on: signup, property: renewal_date, before: 3d, at: 09:07, "
                "zone: person, otherwise: Asia/Tokyo, per: order_id}}"),
    ("trigger", "trigger: {date: {on: signup, property: birthday, at: 08:00}}"),
    ("trigger", "trigger: {sequence: {steps: [view, view, {not: buy}, add], within: 1h, "
                "per: item_id}}"),
    ("trigger", "trigger: {sequence: {steps: [a, {not: b}, {not: c}], within: 1h}}"),
    ("trigger", "trigger: {sequence: {steps: [a, {not: b}, c, b], within: 90s}}"),
    ("trigger", "trigger: {segment: {leaves: active}}"),
    ("trigger", "trigger: {recency: {after: purchase, due: 1, min_events: 3}}"),
    ("trigger", "trigger: {recency: {after: purchase, quiet: 60d}}"),
    ("audience", "audience: {any: [{feature: orders_lifetime, equals: 0}, {segment: new}]}"),
    ("purpose", "purpose: personalise"),
    ("channels", "channels: [webhook, email]"),
    ("facts", "facts: []"),
    ("facts", "facts: [item.title, item.low_stock]"),
    ("variants", "variants: {a: {strategy: helpful, subject: 'Hi {first_name}', "
                 "body: 'See {item.title} at {item.url}, {shop}.'}}"),
    ("cap", "cap: {messages: 1, per: 7d}"),
    ("cooldown", "cooldown: 0s"),
    ("value", "value: 8.00"),
    ("value", "value: 0"),
    ("holdout", "holdout: 20%"),
    ("holdout", "holdout: 0.5"),
    ("mode", "mode: shadow"),
    ("clock", "clock: event"),
    ("shop", "shop: Ada & Co"),
    ("banned", "banned: [cheap, last chance]"),
    ("figures", FIGURE),
    ("variants", "variants: {a: {strategy: helpful, subject: Hi, body: \"See it.\\n"
                 "{item_views_7d}\\n{shop}\"}}\n" + FIGURE),
]

# key, its line, a piece of the fault, and whether JSON Schema alone can see it
BAD: list[tuple[str, str, str, bool]] = [
    ("purpose", "", "'purpose' is missing", True),
    ("trigger", "", "'trigger' is missing", True),
    ("purpose", "purpose: spam", "purpose 'spam' is not known", True),
    ("audiance", "audiance: {segment: vip}", "'audiance' is not a field", True),
    ("playbook", "playbook: My Playbook", "is not a name like", True),
    ("playbook", "playbook: 12", "playbook is a number", True),
    ("brief", "brief: ''", "brief has 0 characters", True),
    ("trigger", "trigger: {absense: {after: a}}", "'trigger.absense' is not a field", True),
    ("trigger", "trigger: {}", "none of", True),
    ("trigger", "trigger: {edge: {when: {segment: vip}}, event: {on: search}}", "and", True),
    ("trigger", "trigger: cart_add", "trigger is a text, not a mapping", True),
    ("trigger", "trigger: {recency: {after: purchase}}", "none of due, quiet", True),
    ("trigger", "trigger: {recency: {after: purchase, due: 1, quiet: 3d}}", "due and quiet", True),
    ("trigger", "trigger: {recency: {after: purchase, due: 0}}", "is 0", True),
    ("trigger", "trigger: {recency: {after: purchase, due: 1, min_events: 1}}", "two", False),
    ("trigger", "trigger: {absence: {after: a, without: a, within: 1m}}", "waits for", False),
    ("trigger", "trigger: {absence: {after: a, without: b, within: 30}}", "is not a span", True),
    ("trigger", "trigger: {absence: {after: a, without: b, within: 30 m}}", "is not a span", True),
    ("trigger", "trigger: {absence: {after: a, without: b, within: 900d}}", "is 900d", False),
    ("trigger", "trigger: {edge: {when: {feature: spend_30d}}}", "none of at_least", True),
    ("trigger", "trigger: {edge: {when: {feature: a, at_least: 1, above: 2}}}", "at", True),
    ("trigger", "trigger: {edge: {when: {feature: spend_30d, at_least: many}}}", "a text", True),
    ("trigger", "trigger: {edge: {when: {feature: spend_3d, at_least: 1}}}", "not declared", False),
    ("trigger", "trigger: {edge: {when: {segment: vip}, rearm: soon}}", "not a condition", True),
    ("trigger", "trigger: {edge: {when: {segment: vip}, rearm: {segment: vipp}}}", "'vipp'", False),
    ("trigger", "trigger: {score: {sum: [], at_least: 2}}", "has 0 entries", True),
    ("trigger", "trigger: {score: {sum: [{feature: spend_30d}], at_least: 2}}", "missing", True),
    ("trigger", "trigger: {score: {sum: [{feature: spent, weight: 1}], at_least: 2}}",
     "feature 'spent' is not declared", False),
    ("trigger", "trigger: {score: {sum: [{feature: spend_30d, weight: 1}], at_least: 2, "
     "rearm_below: 3}}", "rearm_below is above at_least", False),
    ("trigger", "trigger: {score: {sum: [{feature: spend_30d, weight: 1}, "
     "{feature: spend_30d, weight: 2}], at_least: 2}}", "adds up 'spend_30d' twice", False),
    ("trigger", "trigger: {segment: {enters: vips}}", "segment 'vips' is not declared", False),
    ("trigger", "trigger: {segment: {leaves: vips}}", "segment 'vips' is not declared", False),
    ("trigger", "trigger: {segment: {enters: vip, leaves: new}}", "enters and leaves", True),
    ("trigger", "trigger: {segment: vip}", "not a mapping", True),
    ("trigger", "trigger: {price_drop: {}}", "at_least' is missing", True),
    ("trigger", "trigger: {price_drop: {at_least: ten}}", "not a share", True),
    ("trigger", "trigger: {back_in_stock: {seen: []}}", "has 0 entries", True),
    ("trigger", "trigger: {back_in_stock: {seen: [purchase]}}", "and ends it", False),
    ("trigger", "trigger: {schedule: {at: '9:00'}}", "is not a time of day", True),
    ("trigger", "trigger: {schedule: {at: '09:10'}}", "in whole quarters", True),
    ("trigger", "trigger: {schedule: {on: [mon]}}", "'trigger.schedule.at' is missing", True),
    ("trigger", "trigger: {schedule: {at: '09:00', on: [monday]}}", "not known", True),
    ("trigger", "trigger: {schedule: {at: '09:00', zone: Berlin}}", "not a time zone", False),
    ("trigger", "trigger: {schedule: {at: '09:00', otherwise: person}}", "not a time", False),
    ("trigger", "trigger: {schedule: {at: '09:00', zone: UTC, otherwise: Asia/Tokyo}}",
     "one clock", False),
    ("trigger", "trigger: {schedule: {at: '09:00', zone: ../../etc/passwd}}", "not a time", False),
    ("trigger", "trigger: {date: {on: a, property: b}}", "'trigger.date.at' is missing", True),
    ("trigger", "trigger: {date: {property: b, at: '09:00'}}", "date.on' is missing", True),
    ("trigger", "trigger: {date: {on: a, property: b, at: '24:00'}}", "time of day", True),
    ("trigger", "trigger: {date: {on: a, property: b, at: '09:00', before: 36h}}", "days", False),
    ("trigger", "trigger: {date: {on: a, property: b, at: '09:00', before: 1d, after: 1d}}",
     "before and after", False),
    ("trigger", "trigger: {sequence: {steps: [a], within: 1h}}", "has 1 entries", True),
    ("trigger", "trigger: {sequence: {steps: [a, 7], within: 1h}}", "steps[1] is a number", True),
    ("trigger", "trigger: {sequence: {steps: [a, {no: b}], within: 1h}}", "steps[1].no", True),
    ("trigger", "trigger: {sequence: {steps: [a, b]}}", "'trigger.sequence.within'", True),
    ("trigger", "trigger: {sequence: {steps: [{not: a}, b], within: 1h}}", "begins with", False),
    ("trigger", "trigger: {sequence: {steps: [{not: a}, {not: b}], within: 1h}}", "begins", False),
    ("trigger", "trigger: {sequence: {steps: [a, {not: b}, b], within: 1h}}", "wants 'b'", False),
    ("audience", "audience: {segment: vips}", "segment 'vips' is not declared", False),
    ("audience", "audience: {not: {segment: vipp}}", "segment 'vipp' is not declared", False),
    ("audience", "audience: vip", "audience is not a condition", True),
    ("audience", "audience: {all: []}", "has 0 entries", True),
    ("channels", "channels: []", "has 0 entries", True),
    ("channels", "channels: [email, email]", "written twice", True),
    ("channels", "channels: email", "not a list", True),
    ("facts", "facts: [item.colour]", "is not known", True),
    ("variants", "variants: {}", "has 0 entries", True),
    ("variants", "variants: {a: {strategy: remind}}", "'remind' is not known", True),
    ("variants", "variants: {a: {}}", "'variants.a.strategy' is missing", True),
    ("variants", "variants: {A B: {strategy: reminder}}", "a name in variants", True),
    ("variants", "variants: {a: {strategy: reminder, subject: Hi}}", "half a template", False),
    ("variants", "variants: {a: {strategy: reminder, subject: 'Hi {frist_name}', body: x}}",
     "{frist_name} is not a slot", False),
    ("variants", "variants: {a: {strategy: reminder, subject: Hi, body: 'only 3 {shop}'}}",
     "states a number", False),
    ("variants", "variants: {a: {strategy: reminder, subject: Hi, body: 'pay £ {item.price}'}}",
     "states a number", False),
    ("variants", "variants: {a: {strategy: reminder, subject: Hi, body: 'half { item.price }'}}",
     "a brace", False),
    ("variants", "variants: {a: {strategy: reminder, subject: Hi, body: 'https://x.example'}}",
     "link", False),
    ("variants", "variants: {a: {strategy: reminder, subject: 'See {item.url}', body: x}}",
     "holds a link", False),
    ("locale", "locale: de", "there is no grammar for 'de'", False),
    ("locale", "locale: klingon", "is not known", True),
    ("cap", "cap: {messages: 0, per: 7d}", "cap.messages is 0", True),
    ("cap", "cap: {messages: 1.5, per: 7d}", "whole number", True),
    ("cap", "cap: {messages: true, per: 7d}", "whole number", True),
    ("cap", "cap: {messages: 2}", "'cap.per' is missing", True),
    ("expires", "expires: 24 hours", "is not a span", True),
    ("expires", "expires: null", "is not a span", True),
    ("value", "value: -1", "value is -1", True),
    ("value", "value: 8 euro", "value is a text", True),
    ("holdout", "holdout: 95%", "holdout is 95%", False),
    ("holdout", "holdout: 1.5", "holdout is 1.5", True),
    ("holdout", "holdout: many", "is not a share", True),
    ("shop", "shop: '{item.title}'", "is not a name", True),
    ("mode", "mode: off", "is not known", True),
    ("figures", FIGURE.replace("views_7d", "view_7d"), "no feature of items of that name", False),
    ("figures", FIGURE.replace("item_views_7d", "spend_30d"), "no feature of items", False),
    ("figures", FIGURE.replace("item_views_7d", "shop"), "'shop' is another slot", False),
    ("figures", FIGURE.replace(", at_least: 50", ""), "at_least' is missing", True),
    ("figures", FIGURE.replace("50", "9"), "at_least is 9", True),
    ("figures", FIGURE.replace("50", "12.5"), "whole number", True),
    ("figures", FIGURE.replace("50", "many"), "at_least is a text", True),
    ("figures", FIGURE.replace(", max_age: 2d", ""), "max_age' is missing", True),
    ("figures", FIGURE.replace("2d", "2"), "is not a span", True),
    ("figures", FIGURE.replace("2d", "10s"), "is 10s", False),
    ("figures", FIGURE.replace("says", "say"), "'figures.item_views_7d.say' is not", True),
    ("figures", FIGURE.replace("{figure}", "many"), "has not just {figure}", False),
    ("figures", FIGURE.replace("{figure}", "{figure} or {figure}"), "has not just", False),
    ("figures", FIGURE.replace("{figure}", "{item.price}"), "has not just {figure}", False),
    ("figures", FIGURE.replace("{figure}", "{ figure }"), "has not just {figure}", False),
    ("figures", FIGURE.replace("times.", "times"), "is no sentence", False),
    ("figures", FIGURE.replace("times.", "times in 7 days."), "states a number", False),
    ("figures", "figures: [item_views_7d]", "figures is a list", True),
    ("variants", "variants: {a: {strategy: helpful, subject: Hi, body: 'Seen {item_views_7d}'}}",
     "{item_views_7d} is not a slot", False),
    ("variants", "variants: {a: {strategy: helpful, subject: Hi, body: 'Well: {item_views_7d}'}}\n"
     + FIGURE, "does not stand alone", False),
    ("variants", "variants: {a: {strategy: helpful, subject: '{item_views_7d}', body: Hi}}\n"
     + FIGURE, "does not stand alone", False),
]


def text_of(key: str, line: str) -> str:
    return "\n".join(filter(None, {**BASE, key: line}.values())) + "\n"


def schema_accepts(text: str) -> bool:
    tree: Any = YAML(typ="safe", pure=True).load(text)
    return VALIDATOR.is_valid(json.loads(json.dumps(tree)))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_playbooks_hold_and_are_named_after_their_file(path: Path) -> None:
    assert loading.check(path) == []
    assert loading.load(path).name == path.stem
    assert schema_accepts(path.read_text("utf-8"))


def test_the_shipped_abandoned_cart_is_at_most_fifteen_lines() -> None:
    path = next(path for path in SHIPPED if path.stem == "abandoned-cart")
    assert len(path.read_text("utf-8").splitlines()) <= 15


@pytest.mark.parametrize(("key", "line"), GOOD, ids=[line for _, line in GOOD])
def test_loader_and_schema_accept(key: str, line: str) -> None:
    text = text_of(key, line)
    found, faults = loading.parse(text, "x.yml", FEATURES, SEGMENTS, figures=STATED)
    assert faults == [] and found is not None
    assert schema_accepts(text)


@pytest.mark.parametrize(("key", "line", "piece", "in_schema"), BAD, ids=[row[1] or f"no {row[0]}"
                                                                         for row in BAD])
def test_loader_refuses_with_the_line(key: str, line: str, piece: str, in_schema: bool) -> None:
    text = text_of(key, line)
    found, faults = loading.parse(text, "x.yml", FEATURES, SEGMENTS, figures=STATED)
    assert found is None
    assert any(piece in fault.fault for fault in faults), [fault.fault for fault in faults]
    assert schema_accepts(text) is not in_schema
    assert all(fault.remedy for fault in faults)
    if line and key != "locale":          # that fault lies in the variant without a template
        assert faults[0].line == text.splitlines().index(line.partition("\n")[0]) + 1


@pytest.mark.parametrize(("text", "piece", "line"), [
    ("", "empty", 1),
    ("a: [", "not YAML", 1),
    ("playbook: a\n\tpurpose: b\n", "not YAML", 2),
    ("playbook: a\nplaybook: b\n", "written twice", 2),
    ("playbook: &x a\nbrief: *x\n", "anchors", 1),
    ("playbook: !!python/object:os.system a\n", "tag", 1),
    ("- a\n- b\n", "not a mapping", 1),
    ("[" * 60 + "]" * 60, "nested too deeply", 1),
    ("x: " + "y" * 70_000, "larger than", 1),
    ("{[a]: b}", "a key must be a word", 1),
])
def test_a_text_that_is_no_tree_is_refused(text: str, piece: str, line: int) -> None:
    found, faults = loading.parse(text, "x.yml")
    assert found is None and piece in faults[0].fault and faults[0].line == line


def test_all_faults_are_reported_at_once_and_load_raises_the_first(tmp_path: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(text_of("expires", "expires: soon") + "channel: [email]\nholdout: 95%\n")
    faults = loading.check(path)
    assert [fault.line for fault in faults] == [6, 8, 9]
    assert "did you mean 'channels'?" in faults[1].remedy
    with pytest.raises(PlaybookError, match=r"bad\.yml:6: expires 'soon' is not a span"):
        loading.load(path)


def test_a_file_that_is_missing_or_no_text_is_a_clear_error(tmp_path: Path) -> None:
    assert "cannot be read" in loading.check(tmp_path / "none.yml")[0].fault
    (tmp_path / "latin.yml").write_bytes(b"brief: caf\xe9")
    assert "not UTF-8" in loading.check(tmp_path / "latin.yml")[0].fault


def test_the_values_arrive_in_the_model() -> None:
    path = next(path for path in SHIPPED if path.stem == "abandoned-cart")
    found = loading.load(path, None, SEGMENTS, tenant="t")
    assert found.trigger == Trigger("absence", "cart_add", "purchase", 1_800_000, "cart_id")
    assert found.audience == Condition("not", (Condition("segment", name="lapsed"),))
    assert (found.cap_messages, found.cap_per_ms, found.cooldown_ms) == (2, 604_800_000, 86_400_000)
    assert (found.value_micros, found.holdout, found.tenant) == (8_000_000, 0.2, "t")
    assert [arm.strategy for arm in found.variants] == ["reminder", "social_proof", "helpful"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_record_gives_the_same_playbook_back(path: Path) -> None:
    text = path.read_text("utf-8")
    found = loading.from_yaml(text, "t", 7)
    record = loading.to_record(found, text, published_ms=1)
    assert loading.from_record(record) == found
    assert loading.from_record({**record, "active": False}).active is False


def test_the_difference_is_empty_for_the_same_meaning_and_names_each_change() -> None:
    before = loading.from_yaml(text_of("cooldown", "cooldown: 24h"), "t", 1)
    same = loading.from_yaml(text_of("cooldown", "cooldown: 1d  # a day"), "t", 2)
    assert difference(before, same) == []
    after = loading.from_yaml(text_of("variants", "variants: {b: {strategy: helpful}}"), "t", 2)
    assert {(c.what, c.before, c.after) for c in difference(before, after)} == {
        ("variants.a", "reminder", None), ("variants.b", None, "helpful")}
    assert len(difference(None, after)) == len(lines_of(after))


@pytest.mark.parametrize(("line", "shown"), [
    ("{edge: {when: {segment: vip}, rearm: {not: {segment: new}}}}",
     "when in vip becomes true, again after not (in new)"),
    ("{score: {sum: [{feature: a, weight: 0.5}, {feature: b, weight: -1}], at_least: 20}}",
     "when 0.5 × a + -1 × b ≥ 20, again after < 20"),
    ("{segment: {enters: vip}}", "when the person enters vip"),
    ("{segment: {leaves: vip}}", "when the person leaves vip"),
    ("{price_drop: {at_least: 10%}}", "when an item costs 0.1 of its price less, after "
     "product_view or cart_add within 30d and no purchase"),
    ("{back_in_stock: {seen: [wish], within: 7d}}",
     "when an item is back in stock, after wish within 1w and no purchase"),
    ("{schedule: {at: '09:00', on: [thu, mon], seen: 30d}}",
     "mon, thu at 09:00 their own time (else UTC), who did anything within 30d"),
    ("{schedule: {at: '09:00', zone: Asia/Tokyo, after: purchase}}",
     "every day at 09:00 Asia/Tokyo, who did purchase within 90d"),
    ("{date: {on: signup, property: renewal, before: 1w, at: '08:05', zone: UTC, per: order_id}}",
     "7d before renewal of signup per order_id at 08:05 UTC"),
    ("{date: {on: signup, property: renewal, at: '08:05', zone: UTC}}",
     "on renewal of signup at 08:05 UTC"),
    ("{sequence: {steps: [a, {not: b}, c], within: 60m, per: cart_id}}",
     "a, no b, c within 1h per cart_id"),
])
def test_every_kind_of_trigger_has_a_line_in_the_plan(line: str, shown: str) -> None:
    found = loading.from_yaml(text_of("trigger", f"trigger: {line}"), "t", 1)
    assert lines_of(found)["trigger"] == shown


def test_the_schema_file_for_editors_is_the_one_in_code() -> None:
    path = Path(form.__file__).with_name("playbook.schema.json")
    assert json.loads(path.read_text("utf-8")) == form.json_schema()
    jsonschema.Draft202012Validator.check_schema(form.json_schema())


def test_every_key_of_the_form_stands_in_the_documentation() -> None:
    page = (Path(form.__file__).parents[2] / "docs" / "playbooks.md").read_text("utf-8")
    for key in form.PLAYBOOK.keys:
        assert f"`{key}`" in page, key


def test_a_rhythm_that_no_features_tell_is_a_fault_with_a_remedy() -> None:
    text = text_of("trigger", "trigger: {recency: {after: refund, due: 1.0}}")
    assert loading.parse(text, "x.yml", rhythms={"refund"})[1] == []
    (fault,) = loading.parse(text, "x.yml", rhythms={"purchase"})[1]
    assert "'refund'" in fault.fault and "kind: mean_gap" in fault.remedy and fault.line


def test_a_figure_of_items_that_nobody_declared_names_one_that_is_and_what_may_be_stated() -> None:
    text = text_of("figures", FIGURE.replace("views_7d", "view_7d"))
    (fault,) = loading.parse(text, "x.yml", figures=STATED)[1]
    assert "did you mean 'item_views_7d'?" in fault.remedy and "entity: item" in fault.remedy
    assert loading.parse(text, "x.yml", figures=None)[1] == [], "who does not know, does not say"
    found = loading.from_yaml(text_of("figures", FIGURE), "t", 1)
    assert lines_of(found)["figures.item_views_7d"] == (
        "'Seen {figure} times.' from 50 on, up to 2d old")
