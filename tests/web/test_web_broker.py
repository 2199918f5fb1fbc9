"""The web process and the mail catcher as processes, on the real broker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from web_parts import BROWSER, MOMENT_MS, PROFILE

from infra import secrets
from schemas import contract
from streams.adapters.reading import read_whole
from streams.deliver import links
from streams.deliver.links import Link
from streams.kernel import ids
from streams.settings import PROJECT, Settings


def environment(settings: Settings) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items()
               if not name.startswith("KAIROS_")},
            "KAIROS_HOME": str(settings.home), "KAIROS_KAFKA_PORT": str(settings.kafka_port),
            "KAIROS_WEB_PORT": str(settings.web_port), "KAIROS_SMTP_PORT": str(settings.smtp_port)}


@contextmanager
def part(settings: Settings, name: str, health: str) -> Iterator[None]:
    """`kairos NAME serve`, up and healthy; stopped by SIGTERM, which must end it cleanly."""
    process = subprocess.Popen([sys.executable, "-m", "streams.cli.main", name, "serve"],
                               cwd=PROJECT, env=environment(settings), stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                if httpx.get(health).json()["ok"]:
                    break
            except httpx.TransportError:
                assert process.poll() is None, f"{name} stopped"
                time.sleep(0.1)
        else:
            raise AssertionError(f"{name} is not healthy")
        yield
        process.terminate()
        assert process.wait(20) in (0, -15)
    finally:
        process.kill()
        process.wait()


def read_all(settings: Settings, topic: str) -> list[tuple[bytes, bytes, int]]:
    """All records of a topic as (key, value, partition); other tests have left theirs there."""
    return [(key, value or b"", partition) for partition in range(settings.partitions)
            for key, value in read_whole(settings, topic, partition)]


@pytest.mark.integration
def test_unsubscribes_events_and_receipts_reach_the_broker(broker: Settings) -> None:
    base = f"http://{broker.host}:{broker.web_port}"
    with part(broker, "web", f"{base}/healthz"):
        profiles = [ids.derive("test", at) for at in range(8)]
        key = bytes.fromhex(secrets.read(broker, "link_key"))
        with httpx.Client(headers={"User-Agent": BROWSER}) as client:
            for profile in profiles:
                token = links.sign(key, Link("unsubscribe", "d", profile, "default", "email",
                                             MOMENT_MS, 0))
                answer = client.post(f"{base}/u/{token}", data={"List-Unsubscribe": "One-Click"})
                assert answer.status_code == 200
                assert f"{profile}|contact".encode() in {
                    key for key, _, _ in read_all(broker, "consents.changed")}, \
                    "whoever is told that they are unsubscribed is, in Kafka"
            answer = client.post(f"{base}/v1/events", json=[
                {"event_id": f"e{at}", "user_id": profile}
                for at, profile in enumerate(profiles)])
            assert answer.json() == {"accepted": 8}
    changes = [each for each in read_all(broker, "consents.changed")
               if each[0].decode().partition("|")[0] in profiles]
    assert {key.decode() for key, _, _ in changes} == {f"{each}|contact" for each in profiles}
    for key_, value, partition in changes:
        said = contract("consents.changed").decode(value)
        assert not said["granted"] and said["origin"] == "unsubscribe"
        person = key_.decode().partition("|")[0]
        assert partition == ids.partition_of(person.encode(), broker.partitions)
    raws = [each for each in read_all(broker, "events.raw") if each[0].decode() in profiles]
    assert len(raws) == 8
    for key_, _, partition in raws:
        assert partition == ids.partition_of(key_, broker.partitions)


def test_the_mail_catcher_runs_as_a_process(settings: Settings) -> None:
    api = f"http://{settings.host}:{settings.smtp_port + 1}"
    with part(settings, "mail", f"{api}/healthz"):
        import smtplib
        with smtplib.SMTP(settings.host, settings.smtp_port) as smtp:
            smtp.sendmail("a@b.example", ["c@d.example"],
                          f"Subject: hi\r\nMessage-ID: <{PROFILE}@b>\r\n\r\nText")
        (mail,) = httpx.get(f"{api}/api/messages").json()["messages"]
        assert (mail["to"], mail["subject"]) == ("c@d.example", "hi")
        assert mail["text"].strip() == "Text"


def test_a_taken_port_is_said_in_one_sentence(settings: Settings) -> None:
    from streams.adapters.web.listening import listen
    held = listen(settings.host, settings.web_port, "KAIROS_WEB_PORT")
    try:
        found = subprocess.run([sys.executable, "-m", "streams.cli.main", "web", "serve"],
                               cwd=PROJECT, env=environment(settings), capture_output=True,
                               text=True, timeout=60)
    finally:
        held.close()
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert f"port {settings.web_port}" in found.stderr and "KAIROS_WEB_PORT" in found.stderr
