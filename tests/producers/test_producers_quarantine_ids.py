"""The beginning of an id stands for one record, or for none: never for many."""

from __future__ import annotations

import pytest

from streams.cli.quarantine import no_two
from streams.cli.quarantine_log import Kept
from streams.kernel.errors import KairosError

CHOSEN = [Kept(id, "quarantined", {}, None, b"") for id in ("ab12", "ab34", "cd56")]


@pytest.mark.parametrize("ids", [(), ("ab1",), ("ab12", "c")])
def test_ids_that_tell_records_apart_are_taken(ids: tuple[str, ...]) -> None:
    no_two(ids, CHOSEN)


@pytest.mark.parametrize("ids", [("ab",), ("",), ("cd", "a")])
def test_ids_that_do_not_are_refused(ids: tuple[str, ...]) -> None:
    with pytest.raises(KairosError, match="records have an id that begins so"):
        no_two(ids, CHOSEN)
