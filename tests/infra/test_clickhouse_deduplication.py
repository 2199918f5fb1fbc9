"""Tokens are given back in the table's own log, in place."""

from __future__ import annotations

from pathlib import Path

from infra.clickhouse.deduplication import forget


def log_of(table: Path, number: int, text: str) -> Path:
    log = table / "deduplication_logs" / f"deduplication_log_{number}.txt"
    log.parent.mkdir(exist_ok=True)
    log.write_text(text)
    return log


def test_a_part_that_is_gone_gives_back_all_its_tokens(tmp_path: Path) -> None:
    old = log_of(tmp_path, 9, "1\tall_7_7_0\ta\n1\tall_8_8_0\tb\n")
    new = log_of(tmp_path, 10, "2\tall_8_8_0\tb\n1\tall_7_7_0\tc\n")
    forget(tmp_path, ["all_7_7_0"])
    assert old.read_text() == "2\tall_7_7_0\ta\n1\tall_8_8_0\tb\n"
    assert new.read_text() == "2\tall_8_8_0\tb\n2\tall_7_7_0\tc\n"


def test_a_name_that_was_used_again_keeps_its_newest_token(tmp_path: Path) -> None:
    old = log_of(tmp_path, 9, "1\tall_7_7_0\ta\n")
    new = log_of(tmp_path, 10, "1\tall_7_7_0\tc\n1\tall_8_8_0\td\n")
    (tmp_path / "all_7_7_0").mkdir()
    forget(tmp_path, ["all_7_7_0"])
    assert old.read_text() == "2\tall_7_7_0\ta\n"
    assert new.read_text() == "1\tall_7_7_0\tc\n1\tall_8_8_0\td\n"


def test_lines_that_the_system_cut_short_are_taken_out(tmp_path: Path) -> None:
    log = log_of(tmp_path, 1, "1\tall_1_1_0\ta\n1\tall_2\n1\tall_3_3_0\tc\n1\tall_4_4_0")
    forget(tmp_path, [])
    assert log.read_text() == "1\tall_1_1_0\ta\n1\tall_3_3_0\tc\n"
