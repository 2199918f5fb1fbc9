"""Migrations are applied once, in order, and never edited."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.clickhouse.migrate import Migration, load, pending
from sinks import ddl
from streams.kernel.errors import StateError

ONE, TWO = Migration(1, "one", "SELECT 1;"), Migration(2, "two", "SELECT 2;")


def test_what_is_applied_is_not_applied_again() -> None:
    assert pending([ONE, TWO], {}) == [ONE, TWO]
    assert pending([ONE, TWO], {1: ONE.checksum}) == [TWO]
    assert pending([ONE, TWO], {1: ONE.checksum, 2: TWO.checksum}) == []


def test_an_edited_old_migration_is_an_error_that_names_it() -> None:
    with pytest.raises(StateError, match=r"0001_one\.sql was edited"):
        pending([replace(ONE, text="SELECT 1 -- better;")], {1: ONE.checksum})


def test_a_newer_database_is_an_error() -> None:
    with pytest.raises(StateError, match=r"\[2\]"):
        pending([ONE], {1: ONE.checksum, 2: TWO.checksum})


@pytest.mark.parametrize("names", [["0001_a.sql", "0003_b.sql"], ["0002_a.sql"], ["1_a.sql"],
                                   ["0001_a.sql", "0001_b.sql"], ["0001_A.sql"]])
def test_gaps_repeats_and_bad_names_are_errors(names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(StateError):
        load(tmp_path)


def test_statements_are_split_at_line_ends_and_comments_left_out() -> None:
    text = "-- first\nSELECT ';', 'a; b';\n\n-- second; still\nSELECT 2 ;\n"
    assert Migration(1, "x", text).statements == ["SELECT ';', 'a; b'", "SELECT 2"]


def test_ours_load_and_can_be_repeated_after_a_failure_half_way() -> None:
    ours = load()
    assert len(ours) >= 4
    for migration in ours:
        for statement in migration.statements:
            assert statement.startswith(("CREATE TABLE IF NOT EXISTS", "CREATE OR REPLACE VIEW",
                                         "ALTER TABLE")), statement[:60]


def test_names_and_comments_cannot_break_out_of_their_quotes() -> None:
    assert ddl.quoted("it's a \\ path") == r"'it\'s a \\ path'"
