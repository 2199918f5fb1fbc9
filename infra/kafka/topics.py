"""Topics as code: what topics.yml declares, applied to the broker, and where the broker differs."""

from __future__ import annotations

import re
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewTopic,
    ResourceType,
)
from ruamel.yaml import YAML, YAMLError

from streams.kernel.errors import SetupError, UnreachableError
from streams.settings import Settings

FILE = Path(__file__).resolve().parent / "topics.yml"
ANSWER_WAIT_S = 20.0
# A local broker answers at once or is not there; your own may be far away and want a handshake.
LOCAL_WAIT_S, OWN_WAIT_S = 5.0, 20.0
_UNIT_MS = {"h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True)
class Topic:
    """One declared topic. `config` holds the broker's own names and texts."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]
    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """What `apply` did: a topic created, or one config set (or unset, `after` is "")."""

    topic: str
    what: Literal["created", "set", "unset"]
    key: str = ""
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between the file and the broker; `actual` is "" for what is not there."""

    topic: str
    what: Literal["missing", "partitions", "config"]
    key: str
    declared: str
    actual: str

    def __str__(self) -> str:
        if self.what == "missing":
            return f"{self.topic} is missing"
        return (f"{self.topic}: {self.key} is {self.actual or 'unset'} on the broker, "
                f"{self.declared or 'unset'} in the file")


def declared(settings: Settings, file: Path = FILE) -> tuple[Topic, ...]:
    """The topics of `file` under these settings, in its order.

    Raises SetupError that names the topic and the field.
    """
    try:
        text = YAML(typ="safe").load(file.read_text())
    except (OSError, YAMLError) as fault:
        raise SetupError(f"{file.name} cannot be read: {fault}") from fault
    for key in ("defaults", "compact", "topics"):
        if not isinstance(text, dict) or not isinstance(text.get(key), dict):
            raise SetupError(f"{file.name}: '{key}' must be a mapping")
    return tuple(_topic(settings, file, text, name) for name in text["topics"])


def apply(settings: Settings, file: Path = FILE) -> list[Change]:
    """Create what is missing and set configs that differ; a second call changes nothing.

    A partition count is fixed when a topic is created: where it differs nothing at all is changed.
    Raises SetupError for that, UnreachableError when no broker answers.
    """
    wanted, admin = declared(settings, file), _admin(settings)
    differing = _compare(settings, admin, wanted)
    fixed = [drift for drift in differing if drift.what == "partitions"]
    if fixed:
        others = f" (and {len(fixed) - 1} more topics)" if len(fixed) > 1 else ""
        raise SetupError(f"{fixed[0]}{others}",
                         f"a partition count is fixed at creation: set KAIROS_PARTITIONS="
                         f"{fixed[0].actual}, or begin anew with `kairos clean`")
    missing = {drift.topic for drift in differing if drift.what == "missing"}
    changes = _create(admin, [topic for topic in wanted if topic.name in missing])
    return changes + _set(admin, [drift for drift in differing if drift.what == "config"])


def drift(settings: Settings, file: Path = FILE) -> list[Drift]:
    """Where the broker differs from the file. Raises UnreachableError when no broker answers."""
    return _compare(settings, _admin(settings), declared(settings, file))


def _topic(settings: Settings, file: Path, text: dict[str, Any], name: str) -> Topic:
    entry = text["topics"][name]
    place = f"{file.name}: {name}"
    if not isinstance(entry, dict) or not {"partitions", "retention", "why"} <= entry.keys():
        raise SetupError(f"{place} needs partitions, retention and why")
    strange = entry.keys() - {"partitions", "retention", "why", "config"}
    if strange:
        raise SetupError(f"{place}: unknown field '{sorted(strange)[0]}'",
                         "known are partitions, retention, why and config")
    count = settings.partitions if entry["partitions"] == "keyed" else entry["partitions"]
    if not isinstance(count, int) or count < 1:
        raise SetupError(f"{place}: partitions must be 'keyed' or a number from 1")
    replicas = settings.kafka_replication
    config = {**text["defaults"], **_retention(place, str(entry["retention"]), text["compact"]),
              "min.insync.replicas": max(1, replicas - 1), **entry.get("config", {})}
    return Topic(name, count, replicas, {key: str(value) for key, value in config.items()},
                 str(entry["why"]))


def _retention(place: str, word: str, compact: dict[str, object]) -> dict[str, object]:
    if word == "compact":
        return compact
    match = re.fullmatch(r"([1-9]\d*)([hd])", word)
    if match is None:
        raise SetupError(f"{place}: retention '{word}' is not understood",
                         "write hours or days, as 12h or 30d, or compact")
    return {"cleanup.policy": "delete",
            "retention.ms": int(match.group(1)) * _UNIT_MS[match.group(2)]}


def _admin(settings: Settings) -> AdminClient:
    return AdminClient({**settings.kafka_client, "log_level": "0"})


def _compare(settings: Settings, admin: AdminClient, wanted: tuple[Topic, ...]) -> list[Drift]:
    wait_s = LOCAL_WAIT_S if settings.embedded_kafka else OWN_WAIT_S
    try:
        there = admin.list_topics(timeout=wait_s).topics
    except KafkaException as fault:
        raise UnreachableError(f"no Kafka broker answers: {_words(fault)}",
                               "`kairos up` starts the local one; otherwise check KAIROS_KAFKA "
                               "and KAIROS_KAFKA_OPTIONS") from fault
    found: list[Drift] = []
    present = [topic for topic in wanted if topic.name in there]
    configs = _configs(admin, [topic.name for topic in present])
    for topic in wanted:
        if topic.name not in there:
            found.append(Drift(topic.name, "missing", "", "", ""))
            continue
        count = len(there[topic.name].partitions)
        if count != topic.partitions:
            found.append(Drift(topic.name, "partitions", "partitions", str(topic.partitions),
                               str(count)))
        found += _config_drift(topic, configs[topic.name])
    return found


def _config_drift(topic: Topic, actual: dict[str, ConfigEntry]) -> list[Drift]:
    """Declared keys whose value differs, then keys that somebody set on the topic by hand."""
    found = [Drift(topic.name, "config", key, value,
                   str(actual[key].value) if key in actual else "")
             for key, value in topic.config.items()
             if key not in actual or not _same(value, str(actual[key].value))]
    return found + [Drift(topic.name, "config", key, "", str(entry.value))
                    for key, entry in sorted(actual.items()) if key not in topic.config
                    and ConfigSource(entry.source) is ConfigSource.DYNAMIC_TOPIC_CONFIG]


def _same(declared_value: str, actual_value: str) -> bool:
    try:
        return float(declared_value) == float(actual_value)
    except ValueError:
        return declared_value == actual_value


def _configs(admin: AdminClient, names: list[str]) -> dict[str, dict[str, ConfigEntry]]:
    if not names:
        return {}
    asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names],
                                   request_timeout=ANSWER_WAIT_S)
    return {resource.name: _result(future, f"the config of {resource.name} cannot be read")
            for resource, future in asked.items()}


def _create(admin: AdminClient, topics: list[Topic]) -> list[Change]:
    if not topics:
        return []
    asked = admin.create_topics(
        [NewTopic(topic.name, num_partitions=topic.partitions,
                  replication_factor=topic.replication, config=topic.config) for topic in topics],
        operation_timeout=ANSWER_WAIT_S, request_timeout=ANSWER_WAIT_S)
    for name, future in asked.items():
        _result(future, f"the topic {name} cannot be created")
    _await_leaders(admin, [topic.name for topic in topics])
    return [Change(topic.name, "created") for topic in topics]


def _await_leaders(admin: AdminClient, names: list[str]) -> None:
    """Wait until every partition of `names` has a leader.

    The controller answers for a topic before the broker has heard of it, longer so under load;
    whoever came first would have to retry.
    """
    end = time.monotonic() + ANSWER_WAIT_S
    while True:
        found = admin.list_topics(timeout=ANSWER_WAIT_S).topics
        waiting = [name for name in names if name not in found or not found[name].partitions
                   or any(p.leader < 0 for p in found[name].partitions.values())]
        if not waiting:
            return
        if time.monotonic() > end:
            raise SetupError(f"the topic {waiting[0]} was created but has no leader after "
                             f"{ANSWER_WAIT_S:g} s", "look at the broker's log; kairos doctor")
        time.sleep(0.1)


def _set(admin: AdminClient, drifts: list[Drift]) -> list[Change]:
    by_topic: dict[str, list[Drift]] = {}
    for one in drifts:
        by_topic.setdefault(one.topic, []).append(one)
    if not by_topic:
        return []
    asked = admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[
            ConfigEntry(one.key, one.declared or None,
                        incremental_operation=AlterConfigOpType.SET if one.declared
                        else AlterConfigOpType.DELETE) for one in ones])
         for name, ones in by_topic.items()], request_timeout=ANSWER_WAIT_S)
    for resource, future in asked.items():
        _result(future, f"the config of {resource.name} cannot be set")
    return [Change(one.topic, "set" if one.declared else "unset", one.key, one.actual,
                   one.declared) for one in drifts]


def _result(future: Future[Any], complaint: str) -> Any:
    try:
        return future.result()
    except KafkaException as fault:
        raise SetupError(f"{complaint}: {_words(fault)}",
                         "the user in KAIROS_KAFKA_OPTIONS may lack the right to do so") from fault


def _words(fault: KafkaException) -> str:
    return str(fault.args[0].str()) if fault.args else str(fault)
