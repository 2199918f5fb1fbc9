"""Kafka Streams and Flink, built by Maven from bench/peers when first asked for."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.signal.systems import Command, Job, System
from bench.signal.workloads import WORKLOADS
from infra.kafka import broker
from streams.kernel.errors import SetupError
from streams.settings import PROJECT

MODULE = PROJECT / "bench" / "peers"
BUILD_WAIT_S = 900
# The heap of a JVM unless --heap-mb says another, and the least that Flink manages for RocksDB.
HEAP_MB, MANAGED_MB_MIN = 3072, 512
ROCKSDB = ("rocksdb",)
# What Flink's serializers look into.
_OPENS = [word for package in ("java.util", "java.lang", "java.time", "java.util.concurrent",
                               "java.util.concurrent.atomic")
          for word in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")]


@dataclass(frozen=True)
class OnJvm:
    """A class of the module with its arguments, in one process with a thread for each core."""

    name: str
    durable: str
    main: str
    words: tuple[str, ...]
    events_share: float = 1.0
    workloads: tuple[str, ...] = WORKLOADS
    forms: tuple[str, ...] = ("json",)
    commits: bool = True
    why_not: str = ""

    def prepare(self, home: Path) -> str:
        build(home)
        pom = (MODULE / "pom.xml").read_text()
        return ", ".join(f"{name} {version}" for name, version in
                         re.findall(r"<(kafka|flink)\.version>([^<]+)<", pom)
                         if name in self.main.lower() or name == "kafka")

    def commands(self, job: Job) -> list[Command]:
        home = job.state.parent.parent
        heap_mb, words = int(job.extra["BENCH_HEAP_MB"]), self.words
        if words == ROCKSDB:
            # Its state lies outside the heap: what it is given beyond the usual is for that.
            words = (*words, str(max(MANAGED_MB_MIN, heap_mb - HEAP_MB)))
            heap_mb = min(heap_mb, HEAP_MB)
        return [Command((broker.java() or "java", *_OPENS, f"-Xmx{heap_mb}m", "-Xms256m",
                         "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                         "-cp", class_path(home / "peers", self.main),
                         f"kairos.bench.{self.main}", *words), job.environment())]


def class_path(folder: Path, main: str) -> str:
    """Flink and Kafka Streams bring different builds of RocksDB under the same class names."""
    others = "rocksdbjni-" if main == "FlinkJob" else "frocksdbjni-"
    jars = sorted(jar for jar in (folder / "libs").glob("*.jar")
                  if not jar.name.startswith(others))
    return ":".join(map(str, [folder / "peers.jar", *jars]))


def build(home: Path) -> None:
    """The jar and what it needs below `home`/peers; again when a source has changed.

    Raises SetupError when Maven is missing or fails.
    """
    sources = sorted([MODULE / "pom.xml", *MODULE.rglob("*.java")])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = home / "peers" / "sources.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    maven = shutil.which("mvn")
    if maven is None:
        raise SetupError("Maven is not installed, and the JVM peers are built with it",
                         "install it (Debian: apt install maven), or leave them out with --systems")
    done = subprocess.run([maven, "-q", "-B", "-f", str(MODULE / "pom.xml"),
                           f"-Dpeers.build={home / 'peers'}", "package"],
                          capture_output=True, text=True, check=False, timeout=BUILD_WAIT_S)
    if done.returncode != 0:
        words = (done.stdout + done.stderr)[-1500:]
        raise SetupError(f"Maven could not build the JVM peers: {words}",
                         "check the network and Maven's settings, or leave them out with --systems")
    stamp.write_text(digest)


SYSTEMS: list[System] = [
    OnJvm("flink-heap", "checkpoints", "FlinkJob", ("hashmap",)),
    OnJvm("flink-rocksdb", "incremental checkpoints", "FlinkJob", ROCKSDB),
    OnJvm("kafka-streams", "changelog, at least once, 256 MB cache", "StreamsJob", ("256",)),
    OnJvm("kafka-streams-small", "changelog, at least once, 10 MB cache", "StreamsJob", ("10",)),
]
