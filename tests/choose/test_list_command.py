"""`kairos segments list`: user ids in, pseudonyms out, into the folder where rules find them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from infra import secrets
from streams import settings as configuration
from streams.choose.definitions import load
from streams.cli.segments import segments
from streams.kernel.errors import KairosError
from streams.privacy.pseudonyms import Pseudonyms


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "segments.yml").write_text("version: 1\nsegments:\n  vip: {list: vip}\n")
    monkeypatch.setenv("KAIROS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAIROS_DEFINITIONS", str(folder))
    return folder


def run(*words: str, text: str = "") -> str:
    found = CliRunner().invoke(segments, ["list", *words], input=text, catch_exceptions=True)
    if found.exception is not None:
        raise found.exception
    return found.output


def test_the_list_holds_the_pseudonyms_of_the_users_and_not_the_users(own: Path) -> None:
    said = run("vip", "-", "--tenant", "shop", text="42\n\n 43 \n42\n")
    written = (own / "lists" / "vip.txt").read_text()
    assert "2 people" in said and "42" not in written.split()
    pseudonyms = Pseudonyms(bytes.fromhex(secrets.read(configuration.load(), "pseudonym_key")))
    found = load(own).segments[0].lists[0]
    assert all(pseudonyms.known("shop", user) in found for user in ("42", "43"))
    assert pseudonyms.known("other", "42") not in found


def test_a_column_of_a_csv_and_visitors(own: Path) -> None:
    run("vip", "-", "--column", "id", "--anonymous", text='name,id\n"a, b",7\nc,\n')
    pseudonyms = Pseudonyms(bytes.fromhex(secrets.read(configuration.load(), "pseudonym_key")))
    assert (own / "lists" / "vip.txt").read_text() == pseudonyms.anonymous("default", "7") + "\n"


@pytest.mark.parametrize("column", [(), ("--column", "id")])
def test_the_mark_that_spreadsheets_put_before_a_text_is_nobodys_id(
        own: Path, tmp_path: Path, column: tuple[str, ...]) -> None:
    (tmp_path / "users.csv").write_text("id\n7\n" if column else "7\n", "utf-8-sig")
    run("vip", str(tmp_path / "users.csv"), *column)
    pseudonyms = Pseudonyms(bytes.fromhex(secrets.read(configuration.load(), "pseudonym_key")))
    assert (own / "lists" / "vip.txt").read_text() == pseudonyms.known("default", "7") + "\n"


@pytest.mark.parametrize(("words", "text", "said"), [
    (("vip", "-", "--column", "user"), "name,id\na,7\n", "has no such column"),
    (("vip", "-"), "\n \n", "names nobody"),
    (("../vip", "-"), "42\n", "is no name of a list")])
def test_what_makes_no_list_is_told_and_nothing_is_written(own: Path, words: tuple[str, ...],
                                                           text: str, said: str) -> None:
    with pytest.raises(KairosError, match=said):
        run(*words, text=text)
    assert not (own / "lists").exists()


def test_without_a_folder_of_ones_own_it_asks_where_to(own: Path, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAIROS_DEFINITIONS")
    with pytest.raises(KairosError, match="no folder of your own"):
        run("vip", "-", text="42\n")
    run("vip", "-", "--out", str(tmp_path / "chosen.txt"), text="42\n")
    assert len((tmp_path / "chosen.txt").read_text()) == 33
