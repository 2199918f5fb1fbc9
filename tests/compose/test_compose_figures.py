"""Figures: what may be stated of an item, that the decision held it, and that nothing else is."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson
import pytest
from compose_world import NOW_MS, TENANT, YAML, decision, logic, of_topic, records, side, walk
from hypothesis import given
from hypothesis import strategies as st

from streams.compose import figures
from streams.compose.approval import template_faults
from streams.compose.calls import ComposeParams
from streams.compose.draft import Draft
from streams.compose.generation import ModelReply, question
from streams.compose.ladder import Climb, climb
from streams.compose.prepare import Prepared, prepare
from streams.compose.quality import final_fault
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.playbooks import loading
from streams.playbooks.model import Figure, Playbook

FIGURES = """figures:
  item_views_7d:
    {says: "It was looked at {figure} times this past week.", at_least: 50, max_age: 2d}
  item_purchases_7d:
    {says: "It was ordered {figure} times this past week.", at_least: 10, max_age: 2d}
"""
STATED = YAML.replace("variants:\n", """variants:
  told:
    strategy: helpful
    subject: "About {item.title}"
    body: |
      Hello {first_name},

      if you have a question about {item.title}, just answer this message.

      {item_views_7d}

      {item_purchases_7d}

      {item.url}

      {shop}
""") + FIGURES
MOMENT_MS = decision()["moment_ms"]


def held(age_ms: int | None = HOUR_MS, item: str = "mug", **values: Any) -> str:
    """features_json of a decision that knows these features of the item, all of one age."""
    return orjson.dumps({"spend_30d": {"value": 1.0, "age_ms": 10}, "item": {item: {
        "people": 88, **{name: {"value": value, "age_ms": age_ms}
                         for name, value in values.items()}}}}).decode()


def playbook(yaml: str = STATED) -> Playbook:
    return loading.from_yaml(yaml, TENANT, 3)


def made(yaml: str = STATED, count: int = 1, **changes: Any) -> list[dict[str, Any]]:
    """The messages of `count` decisions."""
    batch = records([decision(n, **changes) for n in range(count)])
    return of_topic(asyncio.run(walk(logic(side(yaml)), batch)), "messages.ready")


def numbers(message: dict[str, Any]) -> list[str]:
    """Numbers in a message, but for the price and the link."""
    text = message["body"].replace("£4.25", "").replace(message["link"], "")
    return re.findall(r"\d+", text)


@given(value=st.one_of(st.none(), st.booleans(), st.text(max_size=2),
                       st.floats(allow_nan=False), st.integers(0, 10**7)),
       age_ms=st.one_of(st.none(), st.integers(0, 5 * DAY_MS)), least=st.integers(10, 400),
       max_age_ms=st.integers(1, 4 * DAY_MS), later_ms=st.integers(0, 3 * DAY_MS),
       item=st.sampled_from(["mug", "cup"]))
def test_what_is_known_is_what_the_twin_says(value: Any, age_ms: int | None, least: int,
                                             max_age_ms: int, later_ms: int, item: str) -> None:
    one = Figure("item_views_7d", "It was looked at {figure} times.", least, max_age_ms)
    made_of = Playbook(**{**{name: getattr(playbook(), name) for name in Playbook.__slots__},
                          "figures": (one,)})
    fields = decision(features_json=held(age_ms, item, item_views_7d=value))
    found = figures.known(fields, made_of, "mug", MOMENT_MS + later_ms)
    is_number = type(value) in (int, float) and abs(value) != float("inf")
    if item != "mug" or not is_number or age_ms is None or value < least:
        assert found == {}
    elif age_ms + later_ms > max_age_ms:
        assert found == {}, "too old when the message is written"
    else:
        text, as_of_ms = found["item_views_7d"]
        assert text == figures.written(value) and as_of_ms == MOMENT_MS - age_ms


@given(st.integers(10, 10**12), st.floats(0, 0.99))
def test_a_figure_is_written_in_two_digits_and_never_too_high(whole: int, part: float) -> None:
    text = figures.written(whole)
    assert figures.written(whole + part) == text or whole > 10**11
    assert set(text[2:]) <= {"0"} and len(text) == len(str(whole))
    assert 0 <= whole - int(text) < 10 ** (len(text) - 2)


@pytest.mark.parametrize("features", ["", "[", "{}", "[]", '{"item": []}', '{"item": {"mug": 7}}',
                                      '{"item": {"mug": {"item_views_7d": 80}}}',
                                      '{"item": {"mug": {"item_views_7d": {}}}}'])
def test_a_decision_that_holds_nothing_of_the_item_states_nothing(features: str) -> None:
    message, = made(arm="told", features_json=features)
    assert numbers(message) == [] and "week" not in message["body"]


def test_the_grammar_states_a_figure_in_some_messages_and_says_so_in_each_of_them() -> None:
    messages = made(count=80, features_json=held(item_views_7d=128, item_purchases_7d=14))
    stated = {name: 0 for name in ("item_views_7d", "item_purchases_7d")}
    for message in messages:
        facts, brief = orjson.loads(message["facts_json"]), orjson.loads(message["brief_json"])
        assert set(brief["figures"]) == set(stated), "both were known to each writer"
        said = [name for name in stated if name in facts]
        assert numbers(message) == [facts[name]["value"] for name in said]
        for name in said:
            stated[name] += 1
            assert facts[name] == {"value": {"item_views_7d": "120", "item_purchases_7d": "14"}[
                name], "as_of": MOMENT_MS - HOUR_MS}
    assert all(10 < count < 50 for count in stated.values()), stated
    assert any("It was looked at 120 times this past week." in m["body"] for m in messages)


def test_without_a_figure_the_same_messages_come_out_as_if_none_were_declared() -> None:
    for features in (held(item_views_7d=49, item_purchases_7d=9),
                     held(3 * DAY_MS, item_views_7d=500, item_purchases_7d=50),
                     held(item="cup", item_views_7d=500, item_purchases_7d=50)):
        told, plain = (made(yaml, 20, features_json=features) for yaml in (YAML + FIGURES, YAML))
        assert [(m["subject"], m["body"], m["facts_json"], m["brief_json"]) for m in told] == [
            (m["subject"], m["body"], m["facts_json"], m["brief_json"]) for m in plain]


@pytest.mark.parametrize(("values", "age_ms", "said"), [
    ({"item_views_7d": 128, "item_purchases_7d": 14}, HOUR_MS, ["120", "14"]),
    ({"item_views_7d": 128, "item_purchases_7d": 9}, HOUR_MS, ["120"]),
    ({"item_views_7d": 12, "item_purchases_7d": 10}, HOUR_MS, ["10"]),
    ({"item_views_7d": 128, "item_purchases_7d": 14}, 3 * DAY_MS, []),
])
def test_an_approved_text_leaves_out_the_lines_of_what_is_not_known(
        values: dict[str, Any], age_ms: int, said: list[str]) -> None:
    message, = made(arm="told", features_json=held(age_ms, **values))
    assert message["rung"] == "template" and numbers(message) == said
    assert "{item" not in message["body"] and "\n\n\n" not in message["body"]
    assert message["body"].startswith("Hello {first_name},")


def test_a_figure_that_grew_too_old_before_the_message_was_written_is_not_stated() -> None:
    fields: dict[str, Any] = {"features_json": held(2 * DAY_MS - HOUR_MS, item_views_7d=128)}
    fresh, = made(arm="told", **fields)
    late, = made(arm="told", decided_ms=NOW_MS - 2 * HOUR_MS, **fields)
    assert numbers(fresh) == ["120"] and numbers(late) == []


def answered(body: str, subject: str = "About {item.title}") -> Climb:
    """The climb of a task whose small model gives this answer twice."""
    fields = decision(features_json=held(item_views_7d=128))
    task = prepare(fields, playbook(), side(STATED), NOW_MS, ComposeParams(), models=True)
    assert isinstance(task, Prepared)
    climber, reply = climb(task.task), ModelReply("ok", orjson.dumps(
        {"subject": subject, "body": body}).decode())
    try:
        next(climber)
        while True:
            climber.send(reply)
    except StopIteration as end:
        found: Climb = end.value
        return found


ANSWER = ("Hello {first_name},\n\nyour cart with {item.title} is still here. FIGURE\n\n"
          "{item.url}\n\n{shop}")


def test_a_model_may_place_the_sentence_and_the_figure_is_the_decisions() -> None:
    found = answered(ANSWER.replace("FIGURE", "{item_views_7d}"))
    assert found.rung == "small" and found.message is not None and not found.unstated
    assert "is still here. It was looked at 120 times this past week.\n" in found.message.body
    without = answered(ANSWER.replace(" FIGURE", ""))
    assert without.rung == "small" and without.unstated == {"item_views_7d"}


@pytest.mark.parametrize(("figure", "gate"), [
    ("It was looked at 90 times this past week.", "facts"),         # another number
    ("It was looked at 120 times this past week.", "facts"),        # the number itself
    ("It was bought {item_views_7d} times.", "structure"),          # of something else
    ("{item_views_7d} {item_views_7d}", "structure"),               # twice
    ("{item_purchases_7d}", "structure"),                           # one that is not known
    ("Looked at {figure} times.", "structure"),
    ("Hundreds of people looked at it.", "facts"),
])
def test_a_model_that_says_a_number_itself_is_refused(figure: str, gate: str) -> None:
    found = answered(ANSWER.replace("FIGURE", figure))
    assert found.rung == "grammar"
    assert [list(attempt["gates"]) for attempt in found.attempts[:2]] == [[gate], [gate]]
    subject = answered(ANSWER.replace("FIGURE", ""), "{item_views_7d}")
    assert subject.rung == "grammar"


def test_a_message_with_another_number_than_the_figure_fails_the_gates() -> None:
    fields = decision(arm="told", features_json=held(item_views_7d=128))
    task = prepare(fields, playbook(), side(STATED), NOW_MS, ComposeParams(), models=False)
    assert isinstance(task, Prepared)
    frame, texts = task.task.frame, task.task.facts.texts
    message = answered(ANSWER.replace("FIGURE", "{item_views_7d}")).message
    assert message is not None and final_fault(message, frame, texts) is None
    for other in ("130", "12", "1200", "121"):
        wrong = Draft(message.subject, message.body.replace("120", other))
        fault = final_fault(wrong, frame, texts)
        assert fault is not None and fault.gate == "facts" and "states a figure" in fault.says


def test_a_model_is_told_the_sentence_and_not_the_number() -> None:
    fields = decision(features_json=held(item_views_7d=128))
    task = prepare(fields, playbook(), side(STATED), NOW_MS, ComposeParams(), models=True)
    assert isinstance(task, Prepared)
    call = question(task.task.brief, rung="small", model="m", fault=None)
    assert "It was looked at so many times this past week." in call.user
    assert "128" not in call.user and "120" not in call.user
    assert "item_purchases_7d" not in call.user, "it is not known"


@pytest.mark.parametrize(("before", "after", "piece"), [
    ("It was looked at {figure} times", "Customers love it {figure} times",
     "figures.item_views_7d.says does not pass the gate 'claims'"),
    ("It was looked at {figure} times", "Twice {figure} people looked at it",
     "figures.item_views_7d.says does not pass the gate 'facts'"),
    ("facts: [item.title, item.price, item.url, item.low_stock]\n",
     "facts: [item.title]\nchannels: [webhook]\n", "variants.bare does not pass the gate "
     "'structure' (webhook, without its figures)"),
])
def test_sentences_and_texts_that_no_gate_lets_through_are_told_before(
        before: str, after: str, piece: str) -> None:
    own = (YAML.partition("variants:")[0] + "variants:\n  bare:\n    strategy: helpful\n"
           "    subject: Your cart\n    body: |\n      {item_views_7d}\n      {item_purchases_7d}\n"
           "      LINK\nexpires: 24h\nconversion: {event: purchase, within: 3d}\n" + FIGURES)
    good = own.replace("LINK", "{item.url}")
    assert template_faults(playbook(good), "x.yml") == [] and before in own
    text = own.replace("LINK", "" if "webhook" in after else "{item.url}")
    faults = template_faults(playbook(text.replace(before, after)), "x.yml")
    assert piece in faults[-1].fault, [fault.fault for fault in faults]
    assert all(fault.remedy for fault in faults)
