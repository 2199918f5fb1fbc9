"""`kairos sql` and the cookbook: every query in docs/sql.md runs as the read-only user."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from infra import parts
from sinks.client import connect
from sinks.warehouse import ClickHouseWarehouse
from streams.kernel.errors import UnreachableError
from streams.settings import PROJECT, Settings
from tests.conftest import kairos

COOKBOOK = (PROJECT / "docs" / "sql.md").read_text("utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", COOKBOOK, re.DOTALL)


@pytest.fixture(scope="module")
def served(clickhouse: Settings) -> Settings:
    ClickHouseWarehouse(lambda: connect(clickhouse, user="writer")).prepare()
    return clickhouse


def sql(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(kairos("sql", *words), env=parts.environment(settings), cwd=PROJECT,
                          capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.integration
@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_every_query_of_the_cookbook_runs_as_the_reader(number: int, served: Settings) -> None:
    connect(served, user="reader").query(QUERIES[number])


def test_the_cookbook_has_ten_queries() -> None:
    assert len(QUERIES) >= 10


@pytest.mark.integration
def test_without_a_query_it_lists_tables_and_views_with_comments(served: Settings) -> None:
    rows = json.loads(sql(served, "--json").stdout)
    named = {row["name"]: row for row in rows}
    assert named["decisions"]["kind"] == "view" and named["raw_decisions_made"]["kind"] == "table"
    assert all(row["comment"] for row in rows)
    for name in re.findall(r"^\| (`.*?) \|", COOKBOOK, re.MULTILINE):
        for view in re.findall(r"`(\w+)`", name):
            assert view in named, f"docs/sql.md names {view}"


@pytest.mark.integration
def test_formats_json_files_and_errors(served: Settings) -> None:
    assert sql(served, "--format", "CSVWithNames", "SELECT 1 AS a, 'x' AS b").stdout \
        == '"a","b"\n1,"x"\n'
    assert json.loads(sql(served, "--json", "SELECT toDateTime64(0, 3, 'UTC') AS at").stdout) \
        == [{"at": "1970-01-01T00:00:00"}]
    assert "0.25" in sql(served, "SELECT 0.25 AS quarter, [1] AS list;").stdout
    wrong = sql(served, "SELECT nothing FROM nowhere")
    assert wrong.returncode == 1 and "nowhere" in wrong.stderr and "kairos sql" in wrong.stderr
    told = json.loads(sql(served, "--json", "SELEC 1").stdout)
    assert told["error"] and told["remedy"]


@pytest.mark.integration
@pytest.mark.parametrize("statement", [
    "DROP TABLE raw_decisions_made", "INSERT INTO topic_ends (topic) VALUES ('x')",
    "ALTER TABLE raw_decisions_made DELETE WHERE 1", "CREATE TABLE x (a Int8) ENGINE = Memory"])
def test_the_reader_may_only_read(statement: str, served: Settings) -> None:
    assert sql(served, statement).returncode == 1


def test_no_clickhouse_is_one_clear_sentence(settings: Settings) -> None:
    from infra import secrets
    secrets.ensure(settings)
    with pytest.raises(UnreachableError, match="kairos up"):
        connect(settings)
