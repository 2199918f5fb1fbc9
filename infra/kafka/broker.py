"""The local broker: a real Apache Kafka (KRaft, one node), fetched by Maven, run on the local Java.

Jars lie under HOME/kafka/libs (once per pom.xml), the log under HOME/kafka/data. `infra.processes`
starts and stops it among the other parts; the functions here serve alone as well.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from string import Template

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from infra import daemons
from streams.kernel.errors import SetupError, UnreachableError
from streams.settings import PROJECT, Settings

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
READY_WAIT_S = 60.0
STOP_WAIT_S = 30.0
MAVEN_WAIT_S = 900.0


def libs(settings: Settings) -> Path:
    return settings.home / "kafka" / "libs"


def data(settings: Settings) -> Path:
    return settings.home / "kafka" / "data"


def pid_file(settings: Settings) -> Path:
    return settings.home / "run" / "kafka.pid"


def log_file(settings: Settings) -> Path:
    return settings.home / "logs" / "kafka.log"


def jars_present(settings: Settings) -> bool:
    """True when the jars there are those that the present pom.xml asks for."""
    stamp = libs(settings) / "pom.sha256"
    return stamp.exists() and stamp.read_text() == _pom_digest()


def ensure_jars(settings: Settings) -> Path:
    """The folder of Kafka's jars, fetched by Maven when missing or when pom.xml has changed.

    Raises SetupError when Maven is missing or fails.
    """
    target = libs(settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "libs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars_present(settings):
            _fetch_jars(target)
    return target


def format(settings: Settings) -> bool:
    """Prepare the data folder for a first start; False when it has been prepared before."""
    _write_config(settings)
    if (data(settings) / "meta.properties").exists():
        return False
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # An id that begins with a dash would be read as an option.
    cluster_id = "k" + cluster_id[1:]
    done = subprocess.run(
        [*_java(settings, heap_mb=128), "kafka.tools.StorageTool", "format", "--ignore-formatted",
         "--cluster-id", cluster_id, "--config", str(_config(settings))],
        capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"Kafka's data folder could not be formatted: {_last(done)}",
                         f"look at {data(settings)}; `kairos clean` starts over")
    return True


def command(settings: Settings) -> list[str]:
    """The argv of the broker itself."""
    return [*_java(settings, heap_mb=settings.kafka_heap_mb), "kafka.Kafka",
            str(_config(settings))]


def prepare(settings: Settings) -> None:
    """Everything that must be there before `command` can run: jars, config, formatted folder."""
    ensure_jars(settings)
    format(settings)


def start(settings: Settings) -> int:
    """Start the broker detached and give its pid; `wait_ready` says when it answers."""
    prepare(settings)
    return daemons.spawn(command(settings), pid_file=pid_file(settings), log=log_file(settings),
                         cwd=PROJECT, env=os.environ).pid


def answers(settings: Settings, *, wait_s: float = 2.0) -> bool:
    """True when the broker, local or your own, gives its metadata within `wait_s` seconds."""
    quiet: dict[str, str | int | float | bool] = {**settings.kafka_client, "log_level": 0}
    try:
        return bool(AdminClient(quiet).list_topics(timeout=wait_s).brokers)
    except KafkaException:
        return False


def serves(settings: Settings, *, wait_s: float = 2.0) -> bool:
    """True when every partition of the broker has a leader at work; `wait_s` for each question.

    A broker that comes back answers first, and leads its partitions some time later.
    """
    quiet: dict[str, str | int | float | bool] = {**settings.kafka_client, "log_level": 0}
    try:
        admin = AdminClient(quiet)
        found = admin.list_topics(timeout=wait_s)
        ends = {TopicPartition(name, partition): OffsetSpec.latest()
                for name, topic in found.topics.items() for partition in topic.partitions}
        if ends:
            for end in admin.list_offsets(ends, request_timeout=wait_s).values():
                end.result()
        return bool(found.brokers)
    except KafkaException:
        return False


def wait_ready(settings: Settings, *, wait_s: float = READY_WAIT_S) -> None:
    """Come back when the broker serves. Raises UnreachableError when it died or takes too long."""
    deadline = time.monotonic() + wait_s
    while not serves(settings):
        running = daemons.recall(pid_file(settings))
        if running is not None and not daemons.alive(running):
            raise UnreachableError(
                f"the Kafka broker died at start: {daemons.tail(log_file(settings))}",
                f"see {log_file(settings)}")
        if time.monotonic() >= deadline:
            raise UnreachableError(f"no Kafka broker answers at {settings.bootstrap}",
                                   f"see {log_file(settings)}, or set KAIROS_KAFKA")


def stop(settings: Settings) -> daemons.Ended:
    """SIGTERM, so that the broker closes its log cleanly, and wait until it is gone."""
    return daemons.stop(pid_file(settings), wait_s=STOP_WAIT_S)


def java() -> str | None:
    """The Java program to use: JAVA_HOME's when that is set, otherwise the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    if home and Path(home, "bin", "java").is_file():
        return str(Path(home, "bin", "java"))
    return shutil.which("java")


def _java(settings: Settings, *, heap_mb: int) -> list[str]:
    program = java()
    if program is None:
        raise SetupError("Java is not installed, and the local Kafka broker needs Java 17 or newer",
                         "install a JRE (Debian: apt install openjdk-17-jre-headless), "
                         "or set KAIROS_KAFKA to a broker of your own")
    return [program, f"-Xms{min(heap_mb, 256)}m", f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true", f"-Dkairos.logs={settings.home / 'logs'}",
            f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}",
            "-cp", f"{libs(settings)}/*"]


def _config(settings: Settings) -> Path:
    return settings.home / "kafka" / "server.properties"


def _write_config(settings: Settings) -> None:
    everywhere = settings.host in ("0.0.0.0", "::")
    text = Template((HERE / "server.properties").read_text()).substitute(
        host=settings.host, port=settings.kafka_port,
        # A wildcard is no address to call: clients on this machine are told loopback.
        advertised_host="127.0.0.1" if everywhere else settings.host,
        # The controller talks to nobody but this one broker.
        controller_host="127.0.0.1" if everywhere else settings.host,
        controller_port=settings.kafka_controller_port, data_dir=data(settings))
    (settings.home / "logs").mkdir(parents=True, exist_ok=True)
    settings.path("kafka", "server.properties").write_text(text)


def _fetch_jars(target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise SetupError("Maven is not installed, and Kafka's jars are fetched with it",
                         "install it (Debian: apt install maven), "
                         "or set KAIROS_KAFKA to a broker of your own")
    fresh = target.with_name(f"libs.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        done = subprocess.run(
            [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
             f"-DoutputDirectory={fresh}", "-DincludeScope=runtime"],
            capture_output=True, text=True, check=False, timeout=MAVEN_WAIT_S)
        if done.returncode != 0 or not any(fresh.glob("kafka_2.13-*.jar")):
            raise SetupError(f"Maven could not fetch Kafka's jars: {_last(done)}",
                             "check the network and Maven's settings, then run it again")
        (fresh / "pom.sha256").write_text(_pom_digest())
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    except subprocess.TimeoutExpired as fault:
        raise SetupError(f"Maven did not fetch Kafka's jars within {MAVEN_WAIT_S:.0f} s",
                         "check the network and Maven's settings, then run it again") from fault
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _pom_digest() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip(" \033[0m")]
    return lines[-1].strip() if lines else f"exit code {done.returncode}"
