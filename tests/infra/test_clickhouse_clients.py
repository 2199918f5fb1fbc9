"""The npm client and the JDBC driver, unchanged, against the embedded engine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_process import PROJECT, ClickHouseProcess

pytestmark = pytest.mark.integration
CLIENTS = PROJECT / "tests" / "clients"
INSTALL_WAIT_S = 300


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseProcess]:
    served = ClickHouseProcess(tmp_path_factory.mktemp("clickhouse")).start()
    yield served
    served.stop()


def run(engine: ClickHouseProcess, command: list[str], *, cwd: Path, url: str) -> list[str]:
    """Run a client; the lines it printed."""
    told = {"CLICKHOUSE_URL": url, "QUERY_ID": "from-node"}
    for who in ("WRITER", "READER"):
        user = f"kairos_{who.lower()}"
        told |= {f"{who}_USER": user, f"{who}_PASSWORD": engine.password(user)}
    done = subprocess.run(command, cwd=cwd, env={**engine.environment, **told},
                          capture_output=True, text=True, timeout=INSTALL_WAIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.removeprefix("\x1b[0m") for line in done.stdout.splitlines()]


def test_the_npm_client(engine: ClickHouseProcess, tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node are not on the PATH; install Node.js 20 or later to run this")
    for name in ("package.json", "package-lock.json", "client.mjs"):
        shutil.copy(CLIENTS / "node" / name, tmp_path)
    subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=tmp_path,
                   check=True, capture_output=True, timeout=INSTALL_WAIT_S)
    once = ["ping true", "inserted", "bound it's №1", "count 1002", "streamed 300000 true",
            "error 60 for missing table", "error 62 for syntax", "error in mid-stream", "aborted"]
    assert run(engine, [node, "client.mjs"], cwd=tmp_path, url=engine.url) == [
        *once, *once, "error 164 for reader writes", "done"]


def test_the_jdbc_driver(engine: ClickHouseProcess, tmp_path: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None or shutil.which("java") is None:
        pytest.skip("java and mvn are not on the PATH; install a JDK 17 and Maven to run this")
    command = [maven, "-q", "-B", "-f", str(CLIENTS / "jdbc" / "pom.xml"),
               f"-Dkairos.target={tmp_path}/target", "compile", "exec:java"]
    once = ["inserted", "bound it's №42 0.42", "sum 44999850000", "table jdbc_rows",
            "error 60 for SELECT * FROM no_such_table", "error 62 for SELEC 1",
            "error -1 for SELECT throwIf(number = 3000000) FROM numbers(5000000)", "afterwards 1"]
    lines = run(engine, command, cwd=tmp_path,
                url=f"jdbc:clickhouse://127.0.0.1:{engine.port}/kairos")
    assert [line for line in lines if line] == [
        *once, *once, "reader sees 1000",
        "error 164 for INSERT INTO jdbc_rows SELECT 1, 'x', 1", "done"]
