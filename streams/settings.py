"""One typed settings object, read from the environment (`KAIROS_*`) and nowhere else.

Every field has its sentence in `settings.reference.env`; a test parses that file back into exactly
this object, so the reference cannot drift from the code.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.kernel.errors import SettingsError

PROJECT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Where everything is and how much of it may be used. All ports are on loopback by default."""

    model_config = SettingsConfigDict(env_prefix="KAIROS_", extra="ignore", frozen=True,
                                      env_ignore_empty=True)

    home: Path = Field(PROJECT / ".kairos", description="The one folder that holds all state: "
                       "broker log, ClickHouse path, vault, keys, logs, pid files, reports.")
    host: str = Field("127.0.0.1", description="Address that every local server binds to.")

    kafka: str = Field("", description="Bootstrap servers of your own broker, "
                       "host:port[,host:port]; empty means that Kairos runs a local one.")
    kafka_port: int = Field(19092, ge=1, le=65535, description="Port of the local broker.")
    kafka_controller_port: int = Field(19093, ge=1, le=65535,
                                       description="Controller port of the local broker.")
    kafka_heap_mb: int = Field(512, ge=256, le=65536, description="Heap of the local broker, MiB.")
    kafka_options: str = Field("", description="librdkafka options for your own broker, "
                               "key=value pairs separated by ';', for example "
                               "security.protocol=SASL_SSL;sasl.mechanism=PLAIN;sasl.username=u;"
                               "sasl.password=p. They reach every client.")
    kafka_replication: int = Field(1, ge=1, le=5, description="Replication factor of our topics.")
    schema_registry: str = Field("", description="URL of a Confluent-compatible schema registry; "
                                 "empty means that Confluent-framed events are quarantined.")
    partitions: int = Field(4, ge=1, le=256, description="Partitions of every keyed topic. One "
                            "number for all, because stages join by partition; fixed at creation.")

    definitions: Path | None = Field(None, description="Folder with features.yml, segments.yml or "
                                     "Python files of your own; empty means the shipped "
                                     "ones.")

    clickhouse: str = Field("", description="DSN of a ClickHouse server, clickhouse://user:password"
                            "@host:8123/kairos; empty means the embedded engine.")
    clickhouse_port: int = Field(18123, ge=1, le=65535,
                                 description="HTTP port of the embedded engine.")
    clickhouse_memory_mb: int = Field(2048, ge=512, description="Memory cap of the embedded "
                                      "engine, MiB.")
    clickhouse_free_mb_min: int = Field(512, ge=2, description="Free disk, MiB, below which the "
                                        "embedded engine takes no rows; the sink then waits. Half "
                                        "of it is never used.")

    web_port: int = Field(18080, ge=1, le=65535, description="Port of the web process: "
                          "unsubscribe, click and open links, mailbox, report.")
    web_url: str = Field("", description="Public base URL of the web process, as it stands in "
                         "messages; empty means http://HOST:WEB_PORT.")
    smtp_host: str = Field("", description="SMTP server that mail is handed to; empty means the "
                           "local mail catcher.")
    smtp_port: int = Field(18025, ge=1, le=65535, description="Port of that SMTP server.")
    smtp_user: str = Field("", description="SMTP user name, if the server wants one.")
    smtp_password: str = Field("", description="SMTP password.", repr=False)
    smtp_tls: Literal["none", "starttls", "tls"] = Field("none", description="Transport security "
                                                         "towards the SMTP server.")
    mail_from: str = Field("Kairos <hello@kairos.invalid>", description="Sender of e-mails.")
    webhook_url: str = Field("", description="Where the webhook channel posts; empty disables it.")

    model_url: str = Field("", description="Base URL of an OpenAI-compatible server; empty means "
                           "Kairos' own offline generator.")
    model_key: str = Field("", description="API key for it.", repr=False)
    model_frontier: str = Field("gpt-6.1-sol", description="Model name of the frontier rung.")
    model_small: str = Field("gpt-6-luna", description="Model name of the small rung.")
    model_wait_ms: int = Field(2500, ge=50, le=60000, description="Longest wait for one model "
                               "call, milliseconds; ours, not the SDK's.")
    model_calls_max: int = Field(16, ge=1, le=512, description="Model calls in flight at once.")
    budget_usd_day: float = Field(5.0, ge=0, description="Most that model calls may cost in a day, "
                                  "US dollars, all playbooks together.")

    price_book: str = Field("", description="Path of your own price book (YAML, as "
                            "streams/cost/prices.yml); empty means the shipped one.")

    batch_events: int = Field(2000, ge=1, le=50000, description="Most events in one batch.")
    flush_ms: int = Field(1000, ge=10, le=60000, description="Interval at which dirty rows and "
                          "offsets are made durable together.")
    profile_memory_mb: int = Field(0, ge=0, le=10_000_000, description="Memory for the rows of "
                                   "people, MiB, over all partitions and workers; each partition "
                                   "has an equal share. Rows beyond it that were not touched for "
                                   "long wait in a file under KAIROS_HOME/state. 0 means no limit.")
    standby: bool = Field(False, description="Each worker follows the changelogs of partitions "
                          "that other workers own, so that taking one over needs only the end of "
                          "it. Costs the memory of these rows, and the work of taking them in.")
    dedup_hours: int = Field(24, ge=1, le=168, description="Window of de-duplication by event id.")
    late_days: int = Field(30, ge=1, le=400, description="Events older than this (against their "
                           "tenant's clock) are refused as too_late.")
    future_minutes: int = Field(5, ge=0, le=1440, description="Events further in the future than "
                                "this (against the wall clock) count as of their tenant's present "
                                "and are told as from_the_future.")
    event_bytes_max: int = Field(65536, ge=1024, le=1048576, description="Largest event, bytes.")
    profile_events_per_s: int = Field(50, ge=0, le=100_000, description="Most events a second of "
                                      "one person; what is beyond is refused as too_many. By the "
                                      "broker's time; 0 means no limit.")
    profile_events_burst: int = Field(1000, ge=1, le=1_000_000, description="Events of one person "
                                      "that may come at once, where fewer came before.")
    new_profiles_per_s: int = Field(200, ge=0, le=100_000, description="Most people a second who "
                                    "are new to a tenant; the events of others are refused as "
                                    "too_many_new. By the broker's time; 0 means no limit.")
    new_profiles_burst: int = Field(100_000, ge=1, le=100_000_000, description="New people of a "
                                    "tenant who may come at once, where fewer came before.")
    segment_members_min: int = Field(20, ge=1, le=100_000, description="A segment of fewer people "
                                     "than this is not used to choose or to write messages, and "
                                     "its size is not shown.")
    disk_free_mb_min: int = Field(1024, ge=64, description="Start is refused below this much free "
                                  "disk, MiB.")

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @property
    def bootstrap(self) -> str:
        return self.kafka or f"{self.host}:{self.kafka_port}"

    @property
    def embedded_kafka(self) -> bool:
        return not self.kafka

    @property
    def embedded_clickhouse(self) -> bool:
        return not self.clickhouse

    @property
    def public_url(self) -> str:
        return (self.web_url or f"http://{self.host}:{self.web_port}").rstrip("/")

    @cached_property
    def kafka_client(self) -> dict[str, str]:
        """librdkafka options shared by every client: bootstrap plus `kafka_options`.

        Its own log is kept to emergencies: of a broker that is away it writes twenty lines a second
        to stderr. What matters of them comes as errors and is said once; `log_level=6` in
        `kafka_options` brings them back.
        """
        options = {"bootstrap.servers": self.bootstrap, "log_level": "2"}
        for pair in filter(None, (p.strip() for p in self.kafka_options.split(";"))):
            key, equals, value = pair.partition("=")
            if not equals or not key.strip():
                raise SettingsError("KAIROS_KAFKA_OPTIONS", f"'{pair}' is not key=value",
                                    "write librdkafka options as key=value;key=value")
            options[key.strip()] = value.strip()
        return options

    def path(self, *parts: str) -> Path:
        """A path below `home`; the folder it stands in is made."""
        where = self.home.joinpath(*parts)
        where.parent.mkdir(parents=True, exist_ok=True)
        return where


def load() -> Settings:
    """Read the settings from the environment.

    Raises SettingsError that names the variable, what is wrong with it and what it takes; a
    `KAIROS_` variable that no field knows is an error too, so that a misspelt one is not ignored.
    """
    known = {f"KAIROS_{name.upper()}" for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith("KAIROS_") and name not in known:
            raise SettingsError(name, "is not a setting", "see settings.reference.env")
    try:
        return Settings()
    except ValidationError as fault:
        first = fault.errors()[0]
        name = "KAIROS_" + str(first["loc"][0]).upper()
        remedy = Settings.model_fields[str(first["loc"][0])].description or ""
        raise SettingsError(name, first["msg"], remedy) from fault
