"""Parts for the tests of the web process: the app over a publisher that records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from schemas import contract
from streams.adapters.web.app import create_app
from streams.adapters.web.parts import Parts
from streams.deliver import links
from streams.deliver.links import Kind, Link
from streams.kernel.errors import UnreachableError
from streams.settings import Settings

KEY, HOOK_KEY, OPERATOR_KEY = b"k" * 32, b"h" * 32, "0p" * 32
NOW_MS = 1_760_000_005_000
MOMENT_MS = 1_290_000_000_000
PROFILE = "a" * 32
DECISION = "d" * 32
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Recorder:
    """A publisher that keeps what it is given; `down` makes it refuse, as an unreachable broker."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes | None, bytes, int | None]] = []
        self.down = False

    async def publish(self, topic: str, value: bytes, *, key: bytes | None = None,
                      partition: int | None = None) -> None:
        if self.down:
            raise UnreachableError("Kafka did not take a record")
        self.taken.append((topic, key, value, partition))

    def close(self) -> None:
        return None

    def decoded(self) -> list[tuple[str, dict[str, Any]]]:
        return [(topic, contract(topic).decode(value)) for topic, _, value, _ in self.taken]


def parts_at(home: Path, recorder: Recorder, **changes: Any) -> Parts:
    fields = {name: field.default for name, field in Settings.model_fields.items()}
    settings = Settings.model_construct(**{**fields, "home": home, **changes})
    return Parts(settings, recorder, KEY, HOOK_KEY, OPERATOR_KEY, lambda: NOW_MS)


def client_at(home: Path, recorder: Recorder, **changes: Any) -> TestClient:
    return TestClient(create_app(parts_at(home, recorder, **changes)), follow_redirects=False,
                      headers={"User-Agent": BROWSER})


def token(kind: Kind, target: str = "", *, key: bytes = KEY, channel: str = "email") -> str:
    return links.sign(key, Link(kind, DECISION, PROFILE, "default", channel, MOMENT_MS,
                                NOW_MS - 5_000, target))
