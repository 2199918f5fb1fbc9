"""What the machine must offer before anything is started; each refusal names its remedy."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from infra import daemons, parts
from infra.kafka import broker
from infra.parts import Part
from streams.kernel.errors import SetupError
from streams.settings import Settings

PYTHON_MIN = (3, 11)
JAVA_MIN = 17
PORT_RELEASE_WAIT_S = 3.0
_MIB = 1024 * 1024


def preflight(settings: Settings, starting: Iterable[Part] | None = None) -> None:
    """Check the machine for the parts about to start (all by default).

    Raises SetupError with one sentence and its remedy for the first thing that is missing.
    """
    wanted = tuple(parts.roster(settings) if starting is None else starting)
    check_python()
    check_home(settings)
    check_disk(settings)
    if any(part.name == "kafka" for part in wanted):
        check_java()
        check_jars(settings)
    for part in wanted:
        check_ports(settings, part)


def check_python() -> str:
    if sys.version_info < PYTHON_MIN:
        raise SetupError(f"Python {sys.version.split()[0]} is too old; Kairos needs 3.11 or newer",
                         "install Python 3.11 and run `make setup`")
    return sys.version.split()[0]


def check_java() -> str:
    """The version of Java as it names itself. Raises SetupError when missing or older than 17."""
    remedy = ("install a JRE of 17 or newer (Debian: apt install openjdk-17-jre-headless), "
              "or set KAIROS_KAFKA to a broker of your own")
    program = broker.java()
    if program is None:
        raise SetupError("Java is not installed, and the local Kafka broker runs on it", remedy)
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False,
                              timeout=60)
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise SetupError(f"{program} cannot be run: {fault}", remedy) from fault
    match = re.search(r'version "(\d+)(?:\.(\d+))?[^"]*"', said.stderr + said.stdout)
    if match is None:
        raise SetupError(f"{program} does not say its version", remedy)
    major = int(match[2] or 0) if match[1] == "1" else int(match[1])
    if major < JAVA_MIN:
        raise SetupError(f"Java {major} is too old; Kafka needs {JAVA_MIN} or newer", remedy)
    return match[0].partition('"')[2].rstrip('"')


def check_jars(settings: Settings) -> str:
    if broker.jars_present(settings):
        return f"jars in {broker.libs(settings)}"
    if shutil.which("mvn") is None:
        raise SetupError("Maven is not installed, and Kafka's jars are fetched with it",
                         "install it (Debian: apt install maven), "
                         "or set KAIROS_KAFKA to a broker of your own")
    return "Maven will fetch the jars"


def check_home(settings: Settings) -> str:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.home):
            return str(settings.home)
    except OSError as fault:
        raise SetupError(f"{settings.home} cannot be written: {fault.strerror}",
                         "set KAIROS_HOME to a folder that you may write") from fault


def check_disk(settings: Settings) -> str:
    free_mb = shutil.disk_usage(settings.home).free // _MIB
    floors = {"KAIROS_DISK_FREE_MB_MIN": settings.disk_free_mb_min}
    if settings.embedded_clickhouse:              # it would start, and then take no rows
        floors["KAIROS_CLICKHOUSE_FREE_MB_MIN"] = settings.clickhouse_free_mb_min
    name = max(floors, key=lambda floor: floors[floor])
    if free_mb < floors[name]:
        raise SetupError(f"only {free_mb} MiB are free at {settings.home}, and "
                         f"{name} asks for {floors[name]}",
                         "free some disk, or set KAIROS_HOME to a larger one")
    return f"{free_mb} MiB free"


def check_ports(settings: Settings, part: Part) -> None:
    """Raises SetupError when a port of a part that is not running yet belongs to somebody else."""
    ours = daemons.recall(parts.pid_file(settings, part.name))
    if ours is not None and daemons.alive(ours):
        return
    # One of ours that was killed a moment ago may still be giving its ports back.
    deadline = time.monotonic() + (PORT_RELEASE_WAIT_S if ours is not None else 0.0)
    for port in part.ports:
        while not port_free(host=settings.host, port=port.number):
            if time.monotonic() < deadline:
                time.sleep(daemons.POLL_S)
                continue
            raise SetupError(f"port {port.number} for {part.name} is taken"
                             f"{_by(port.number)}",
                             f"stop that process, or set {port.setting} to a free port")


def port_free(*, host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do it: a connection in TIME_WAIT does not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _by(port: int) -> str:
    """` by java (process 123)` where the system lets us see it, otherwise nothing."""
    inodes = _listening_inodes(port)
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            for handle in (process / "fd").iterdir():
                if os.readlink(handle) in inodes:
                    name = (process / "comm").read_text().strip()
                    return f" by {name} (process {process.name})"
        except OSError:
            continue
    return ""


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in (row.split() for row in rows):
            listening = fields[3] == "0A"
            if listening and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
