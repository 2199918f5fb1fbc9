"""docker-compose.yml and the Dockerfile, as far as they can be checked without a Docker engine.

Against the Compose Specification's own schema, and against what they must agree with here: the
settings, the command line, the broker's configuration, the lock file.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from conftest import settings_at
from ruamel.yaml import YAML

from infra.kafka import broker
from infra.parts import WORKERS, ready_file, roster
from streams.cli.main import cli
from streams.settings import PROJECT, Settings

FILE, DOCKERFILE = PROJECT / "docker-compose.yml", PROJECT / "Dockerfile"
SCHEMA = Path(__file__).parent / "compose-spec.json"
ANSWERS = {"CLICKHOUSE_PASSWORD": "secret1"}
BLANK = re.compile(r"\$\{([A-Z_]+)(?:(:-|:\?)([^}]*))?\}")


def compose() -> dict[str, Any]:
    """The file as Compose sees it: anchors and merge keys resolved, extensions dropped."""
    text = json.loads(json.dumps(YAML(typ="safe", pure=True).load(FILE.read_text())))
    return {key: value for key, value in text.items() if not key.startswith("x-")}


SERVICES: dict[str, Any] = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def filled(value: str) -> str:
    """A value with the blanks filled as Compose does from .env."""
    return BLANK.sub(lambda blank: ANSWERS.get(blank[1], blank[3] if blank[2] == ":-" else ""),
                     value)


def test_the_file_keeps_the_compose_schema() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    faults = [f"{'/'.join(map(str, fault.absolute_path))}: {fault.message}" for fault in
              jsonschema.Draft202012Validator(schema).iter_errors(compose())]
    assert faults == []


@pytest.mark.parametrize(("path", "value"), [
    (("services", "kafka", "imgae"), "x"), (("services", "kafka", "ports"), 19092),
    (("services", "web", "healthcheck", "interval"), 10), (("volume",), {})])
def test_the_schema_refuses_a_misspelt_file(path: tuple[str, ...], value: object) -> None:
    text = compose()
    place = text
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(text, json.loads(SCHEMA.read_text()))


def test_the_client_accepts_the_file_where_there_is_one(tmp_path: Path) -> None:
    """`docker compose config` needs no engine; where the plugin is missing the schema must do."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], check=False,
                                        capture_output=True).returncode != 0:
        return
    env = tmp_path / ".env"
    env.write_text("".join(f"{key}={value}\n" for key, value in ANSWERS.items()))
    subprocess.run([docker, "compose", "--env-file", str(env), "-f", str(FILE), "config", "-q"],
                   check=True)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_pinned_limited_checked_and_not_root(name: str) -> None:
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    assert re.fullmatch(r"\d+(\.\d+)+", tag), f"{service['image']} is not pinned"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), "runs as root"
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0 and re.fullmatch(r"\d+[MG]", limits["memory"])
    assert service["healthcheck"].get("test") or name == "setup"
    assert service["restart"] == ("no" if name == "setup" else "unless-stopped")
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_every_named_volume_is_declared_and_used() -> None:
    used = {volume.partition(":")[0] for service in SERVICES.values()
            for volume in service["volumes"]}
    assert used == set(compose()["volumes"])


def test_dependencies_exist_and_can_become_what_is_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            assert other in SERVICES and other != name
            once = wait["condition"] == "service_completed_successfully"
            assert once == (other == "setup")


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_and_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"KAIROS_{field.upper()}", raising=False)
    for variable, value in OURS[name]["environment"].items():
        assert variable.startswith("KAIROS_")
        assert variable.removeprefix("KAIROS_").lower() in Settings.model_fields, variable
        monkeypatch.setenv(variable, filled(value))
    settings = Settings()
    assert not settings.embedded_kafka and not settings.embedded_clickhouse
    assert settings.bootstrap == SERVICES["kafka"]["environment"][
        "KAFKA_ADVERTISED_LISTENERS"].partition("PLAINTEXT://")[2].partition(",")[0]
    assert settings.smtp_host in SERVICES
    assert [f"127.0.0.1:{settings.web_port}:{settings.web_port}"] == OURS["web"]["ports"]
    assert f":{settings.smtp_port + 1}/healthz" in str(OURS["mail"]["healthcheck"]["test"])


def test_every_blank_is_in_the_example_and_the_other_way_round() -> None:
    example = (PROJECT / "infra" / "deploy" / "compose.env.example").read_text()
    assert {blank[0] for blank in BLANK.findall(FILE.read_text())} == set(
        re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists_with_these_options(name: str) -> None:
    resolve(cli, "kairos", list(OURS[name]["command"]))


@pytest.mark.parametrize("words", [["work", "--stage", "admit"], ["sink", "walk"], ["fly"]])
def test_a_command_that_does_not_exist_is_noticed(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        resolve(cli, "kairos", words)


def test_the_services_are_those_that_run_without_containers(tmp_path: Path) -> None:
    local = {part.name: part.argv[3:] for part in roster(settings_at(tmp_path)) if part.argv}
    named = {"events": "worker-1", "messages": "worker-2"}
    for name, service in OURS.items():
        if name != "setup":
            words = tuple(service["command"])
            assert words[:len(local[named.get(name, name)])] == local[named.get(name, name)]


def test_a_ready_file_lies_where_the_health_check_looks(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    for name, part in {**{"sink": "sink"}, **dict(zip(("events", "messages"), WORKERS,
                                                      strict=True))}.items():
        inside = ready_file(settings, part).relative_to(settings.home)
        assert OURS[name]["healthcheck"]["test"][-1] == f"/var/lib/kairos/{inside}"
        assert any(mount.startswith("/var/lib/kairos/run:") for mount in OURS[name]["tmpfs"])


def test_kafka_is_configured_as_the_local_broker_is() -> None:
    inside = {key.removeprefix("KAFKA_").lower().replace("_", "."): value
              for key, value in SERVICES["kafka"]["environment"].items()}
    lines = (broker.HERE / "server.properties").read_text().splitlines()
    local = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    places = {"listeners", "advertised.listeners", "listener.security.protocol.map", "log.dirs",
              "controller.quorum.voters"}
    assert {key: inside.get(key) for key in local if key not in places} == {
        key: value for key, value in local.items() if key not in places}
    assert inside.keys() - local.keys() == {"heap.opts"}
    version = re.search(r"<version>(4\.[\d.]+)</version>", broker.POM.read_text())
    assert version is not None and SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_the_dockerfile_keeps_the_rules() -> None:
    lines = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
    steps = [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]
    of = {word: [rest for name, rest in steps if name == word] for word, _ in steps}
    assert len(of["FROM"]) == 2, "one stage builds, one runs"
    assert all(re.match(r"python:3\.11\.\d+-slim-[a-z]+( AS build)?$", image)
               for image in of["FROM"])
    user = [rest for name, rest in steps if name == "USER"]
    assert user == [OURS["web"]["user"]] and steps.index(("USER", user[0])) > steps.index(
        ("FROM", of["FROM"][1]))
    runs = " ; ".join(of["RUN"])
    assert "--require-hashes -r requirements.lock" in runs
    assert "--no-deps --no-build-isolation" in runs
    assert "apt-get" not in runs or ("--no-install-recommends" in runs and "rm -rf /var/lib/apt"
                                     in runs)
    assert "ADD" not in of and not any("curl" in run or "wget" in run for run in of["RUN"])
    assert of["ENTRYPOINT"] == ['["kairos"]']
    resolve(cli, "kairos", json.loads(of["HEALTHCHECK"][0].partition("CMD ")[2])[1:])


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    for line in DOCKERFILE.read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for name in line.split()[1:-1]:
                assert (PROJECT / name).exists(), name
                assert f"!{name}" in ignored, name


def resolve(command: click.Command, name: str, words: list[str]) -> None:
    """Let click read the words as it would, without running the command they name."""
    context = command.make_context(name, list(words), resilient_parsing=False)
    if isinstance(command, click.Group):
        found, inner, rest = command.resolve_command(context, [*context._protected_args,
                                                               *context.args])
        assert inner is not None
        resolve(inner, found or name, rest)
