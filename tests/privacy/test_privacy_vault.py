"""The vault: what it keeps, from whom, and that forgetting is for good."""

from __future__ import annotations

import multiprocessing
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.adapters.vault import SqliteVault
from streams.kernel.errors import StateError, UnreachableError
from streams.privacy import envelope
from streams.privacy.vault import Deposit

KEY = b"v" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault" / "vault.db"


def test_what_was_put_comes_back_also_in_another_process_life(path: Path) -> None:
    SqliteVault(path, KEY).put("p1", {"email": "ada@example.org", "first_name": "Ada Ünal"})
    again = SqliteVault(path, KEY)
    assert again.get("p1", "email") == "ada@example.org"
    assert again.get("p1", "first_name") == "Ada Ünal"
    assert again.get("p1", "phone") is None
    assert again.get("p2", "email") is None


def test_older_values_yield_and_repeats_change_nothing(path: Path) -> None:
    vault = SqliteVault(path, KEY)
    newer = Deposit("p1", (("email", "new@b.c"),), 5)
    vault.put_many([newer, Deposit("p1", (("email", "old@b.c"), ("phone", "1")), 4), newer])
    assert (vault.get("p1", "email"), vault.get("p1", "phone")) == ("new@b.c", "1")


def test_no_file_of_the_vault_holds_anything_in_clear(path: Path) -> None:
    vault = SqliteVault(path, KEY)
    vault.put("p1", {"email": "ada@example.org"})
    for file in path.parent.iterdir():
        assert b"ada@example" not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_forgetting_destroys_the_key_in_every_file(path: Path) -> None:
    vault = SqliteVault(path, KEY)
    vault.put("p1", {"email": "ada@example.org"})
    vault.put("p2", {"email": "bob@example.org"})
    [wrapped] = vault._ask("SELECT wrapped_key FROM people WHERE profile_id='p1'").fetchone()
    assert vault.forget("p1") and not vault.forget("p1")
    assert vault.get("p1", "email") is None and vault.get("p2", "email") == "bob@example.org"
    assert not any(wrapped in file.read_bytes() for file in path.parent.iterdir())


def test_a_person_who_comes_back_gets_another_key(path: Path) -> None:
    vault = SqliteVault(path, KEY)
    vault.put("p1", {"email": "ada@example.org"})
    [before] = vault._ask("SELECT sealed FROM identifiers").fetchone()
    vault.forget("p1")
    vault.put("p1", {"email": "new@example.org"})
    assert vault.get("p1", "email") == "new@example.org"
    key = vault._key_of("p1")
    assert key is not None
    with pytest.raises(StateError):
        envelope.open_sealed(before, key=key, bound_to=envelope.binding("p1", "email"))


def test_the_wrong_key_is_said_at_once(path: Path) -> None:
    SqliteVault(path, KEY)
    with pytest.raises(StateError, match=r"vault\.db"):
        SqliteVault(path, b"w" * 32)


def test_a_value_cannot_be_moved_to_another_person_or_field(path: Path) -> None:
    vault = SqliteVault(path, KEY)
    vault.put("p1", {"email": "ada@example.org"})
    vault._ask("UPDATE identifiers SET field = 'first_name'")
    with pytest.raises(StateError):
        vault.get("p1", "first_name")


def test_a_file_that_is_no_vault_is_a_clear_error(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(UnreachableError, match="vault"):
        SqliteVault(path, KEY)


def test_a_failed_batch_leaves_nothing_behind(path: Path) -> None:
    vault = SqliteVault(path, KEY)

    def broken() -> Iterator[Deposit]:
        yield Deposit("p1", (("email", "a@b.c"),), 1)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        vault.put_many(broken())
    assert vault.get("p1", "email") is None
    vault.put("p1", {"email": "a@b.c"})


def _write(path: Path, worker: int) -> None:
    vault = SqliteVault(path, KEY)
    for number in range(20):
        vault.put(f"p{number}", {f"field{worker}": f"{worker}/{number}"})


def test_several_processes_may_write_at_once(path: Path) -> None:
    SqliteVault(path, KEY).close()
    start = multiprocessing.get_context("spawn")
    workers = [start.Process(target=_write, args=(path, worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    vault = SqliteVault(path, KEY)
    for number in range(20):
        for worker in range(3):
            assert vault.get(f"p{number}", f"field{worker}") == f"{worker}/{number}"
