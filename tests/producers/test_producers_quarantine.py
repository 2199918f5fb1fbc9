"""`kairos quarantine` against the real broker: list, show, replay, replay mended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.events import decode
from streams.engine.records import Out, Record
from streams.settings import PROJECT, Settings

pytestmark = pytest.mark.integration
BROKEN = (b'{"event_id":"q1","event_type":"cart_add","event_ms":1000000000000,"user_id":"u",'
          b'"price":"3"}')
ANCIENT = b'{"event_id":"q2","event_type":"cart_add","event_ms":1000000000000,"user_id":"u"}'


@pytest.fixture(scope="module")
def offsets(broker: Settings) -> dict[bytes, int]:
    """Two records in partition 1 of events.raw, and what admit would say of them."""
    producer = Producer(broker.kafka_client)
    where: dict[bytes, int] = {}
    for value in (BROKEN, ANCIENT):
        producer.produce("events.raw", value, b"key", partition=1, on_delivery=lambda _, m:
                         where.__setitem__(m.value(), m.offset()))
    assert producer.flush(20) == 0
    for value in (BROKEN, ANCIENT):
        out = Out("admit", 1_790_000_000_000)
        out.at(Record("events.raw", 1, where[value], b"key", value, 1))
        if value == BROKEN:
            out.quarantine("wrong_type", field="price", detail="send it without quotes")
        else:
            out.refuse("refused", "too_late", field="event_ms", event_id="q2")
            out.refuse("duplicate", "duplicate")
        for emission in out.emissions * 2:            # a replay repeats what it emits
            producer.produce(emission.topic, emission.value, emission.key)
    assert producer.flush(20) == 0
    return where


def kairos(settings: Settings, *words: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    env = {**os.environ, "KAIROS_KAFKA": settings.bootstrap, "KAIROS_HOME": str(settings.home)}
    done = subprocess.run([sys.executable, "-m", "streams.cli.main", "quarantine", *words],
                          cwd=PROJECT, env=env, capture_output=True, text=True, timeout=60,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def listed(settings: Settings, offsets: dict[bytes, int], *words: str) -> list[dict[str, Any]]:
    """What the command lists of our two records; other tests share the broker."""
    code, out, err = kairos(settings, "list", "--json", *words)
    assert code == 0, err
    return [one for one in json.loads(out)
            if one["partition"] == 1 and one["offset"] in offsets.values()]


def last(settings: Settings) -> tuple[bytes, bytes, dict[str, bytes]]:
    """(key, value, headers) of the newest record in partition 1."""
    consumer = Consumer({**settings.kafka_client, "group.id": "quarantine-test"})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition("events.raw", 1), timeout=20)
        consumer.assign([TopicPartition("events.raw", 1, end - 1)])
        message = consumer.poll(20)
        assert message is not None and message.error() is None
        return message.key(), message.value(), dict(message.headers() or [])
    finally:
        consumer.close()


def test_listing_shows_each_fault_once(broker: Settings, offsets: dict[bytes, int]) -> None:
    every = listed(broker, offsets, "--limit", "100000")
    found = {one["reason"]: one for one in every}
    assert set(found) == {"wrong_type", "too_late"} and len(every) == 2
    assert found["wrong_type"]["outcome"] == "quarantined"
    assert found["too_late"]["offset"] == offsets[ANCIENT]
    assert [one["reason"] for one in listed(broker, offsets, "--reason", "too_late")] == [
        "too_late"]
    assert listed(broker, offsets, "--stage", "sink") == []
    assert len(json.loads(kairos(broker, "list", "--limit", "1", "--json")[1])) == 1


@pytest.mark.parametrize(("reason", "payload"), [("wrong_type", BROKEN), ("too_late", ANCIENT)])
def test_showing_one_gives_field_meaning_and_bytes(
        broker: Settings, offsets: dict[bytes, int], reason: str, payload: bytes) -> None:
    [one] = listed(broker, offsets, "--reason", reason)
    code, out, _ = kairos(broker, "show", one["id"][:10], "--json")
    shown = json.loads(out)
    assert code == 0 and shown["text"].encode() == payload == bytes.fromhex(shown["hex"])
    assert shown["meaning"]
    assert payload.decode() in kairos(broker, "show", one["id"])[1]


def test_replay_sends_the_same_bytes_with_a_header(
        broker: Settings, offsets: dict[bytes, int]) -> None:
    for reason, payload, extra in (("wrong_type", BROKEN, []),
                                   ("too_late", ANCIENT, ["--refused"])):
        [one] = listed(broker, offsets, "--reason", reason)
        code, out, err = kairos(broker, "replay", "--json", one["id"], *extra)
        assert code == 0, err
        assert json.loads(out) == {"sent": [one["id"]], "gone": []}
        assert last(broker) == (b"key", payload, {"kairos-replay-of": one["id"].encode()})


def test_replay_sends_mended_bytes(broker: Settings, offsets: dict[bytes, int],
                                   tmp_path: Path) -> None:
    [one] = listed(broker, offsets, "--reason", "wrong_type")
    mended = tmp_path / "mended.json"
    mended.write_bytes(BROKEN.replace(b'"3"', b"3"))
    assert kairos(broker, "replay", one["id"], "--edit", str(mended))[0] == 0
    event = decode(last(broker)[1])
    assert isinstance(event, dict) and event["price"] == 3.0


@pytest.mark.parametrize(("words", "sentence"), [
    (["replay"], "say what to send again"), (["replay", "zz"], "nothing matches"),
    (["show", "zz"], "no record has this id"),
    (["replay", "--all", "--edit", "docs/producing.md"], "exactly one id")])
def test_a_mistake_is_one_sentence_and_a_remedy(
        broker: Settings, offsets: dict[bytes, int], words: list[str], sentence: str) -> None:
    code, _, err = kairos(broker, *words)
    assert code != 0 and sentence in err and "Traceback" not in err


def test_a_broker_that_is_down_is_one_sentence(broker: Settings) -> None:
    down = broker.model_copy(update={"kafka": "127.0.0.1:9"})
    code, _, err = kairos(down, "list")
    assert code == 1 and "does not answer" in err and "Traceback" not in err
