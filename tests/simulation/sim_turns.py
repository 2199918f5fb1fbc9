"""Coroutines that are run by hand, without a loop: where they pause, and how they take turns."""

from __future__ import annotations

from collections.abc import Generator
from types import coroutine


@coroutine
def pause() -> Generator[None, None, None]:
    """The process may be stopped here for any time, and others act."""
    yield


class Turns:
    """A lock for coroutines that are run by hand: whoever waits for it pauses and looks again."""

    def __init__(self) -> None:
        self._is_held = False

    def locked(self) -> bool:
        return self._is_held

    async def acquire(self) -> bool:
        while self._is_held:
            await pause()
        self._is_held = True
        return True

    def release(self) -> None:
        assert self._is_held, "released twice"
        self._is_held = False

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()
