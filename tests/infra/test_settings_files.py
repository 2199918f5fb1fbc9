"""The two settings files say exactly what the settings object says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from infra import settings_reference
from streams import settings as configuration
from streams.kernel.errors import SettingsError
from streams.settings import PROJECT, Settings

REFERENCE, MINIMAL = PROJECT / "settings.reference.env", PROJECT / "settings.minimal.env"
SETTING = re.compile(r"^# (KAIROS_[A-Z_]+)=(.*)$")


def entries(file: Path) -> list[tuple[str, str, str]]:
    """(variable, value, the sentence above it) of every commented default, in order."""
    found: list[tuple[str, str, str]] = []
    sentence: list[str] = []
    for line in file.read_text().splitlines():
        setting = SETTING.match(line)
        if setting is not None:
            value = "".join(shlex.split(setting[2]))
            found.append((setting[1], value, " ".join(sentence)))
        sentence = [*sentence, line[2:]] if line.startswith("# ") and setting is None else []
    return found


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"KAIROS_{name.upper()}", raising=False)
    monkeypatch.chdir(PROJECT)
    return monkeypatch


def test_the_reference_is_as_generated() -> None:
    assert REFERENCE.read_text() == settings_reference.render(), "run `make reference`"


def test_every_setting_stands_in_the_reference_in_order_with_its_sentence() -> None:
    fields = Settings.model_fields
    said = [(name, sentence) for name, _, sentence in entries(REFERENCE)]
    assert said == [(f"KAIROS_{name.upper()}", field.description)
                    for name, field in fields.items()]


def test_the_reference_holds_exactly_the_defaults(bare: pytest.MonkeyPatch) -> None:
    defaults = configuration.load().model_dump()
    for name, value, _ in entries(REFERENCE):
        bare.setenv(name, value)
    assert configuration.load().model_dump() == defaults


def test_a_shell_reads_the_reference_as_we_do(bare: pytest.MonkeyPatch) -> None:
    lines = [line[2:] for line in REFERENCE.read_text().splitlines() if SETTING.match(line)]
    script = "set -a\n" + "\n".join(lines) + "\nenv -0"
    said = dict(pair.split("=", 1) for pair in subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split("\0")
        if pair)
    assert {name: said[name] for name, _, _ in entries(REFERENCE)} == {
        name: value for name, value, _ in entries(REFERENCE)}


def test_the_minimal_file_asks_for_nothing(bare: pytest.MonkeyPatch) -> None:
    assert all(not line or line.startswith("#") for line in MINIMAL.read_text().splitlines())
    named = set(re.findall(r"KAIROS_[A-Z_]+", MINIMAL.read_text()))
    assert named <= {f"KAIROS_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize(("name", "value", "words"), [
    ("KAIROS_KAFKA_PROT", "1", "is not a setting"),
    ("KAIROS_KAFKA_PORT", "high", "valid integer"),
    ("KAIROS_KAFKA_PORT", "70000", "less than or equal to 65535"),
    ("KAIROS_PARTITIONS", "0", "greater than or equal to 1"),
    ("KAIROS_SMTP_TLS", "yes", "'none', 'starttls' or 'tls'"),
])
def test_a_wrong_setting_is_named(bare: pytest.MonkeyPatch, name: str, value: str,
                                  words: str) -> None:
    bare.setenv(name, value)
    with pytest.raises(SettingsError, match=words) as caught:
        configuration.load()
    assert caught.value.message.startswith(name) and caught.value.remedy


def test_options_for_your_own_broker_reach_every_client(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("KAIROS_KAFKA", "there:9092")
    bare.setenv("KAIROS_KAFKA_OPTIONS", "security.protocol=SASL_SSL; sasl.password=a=b")
    assert configuration.load().kafka_client == {
        "bootstrap.servers": "there:9092", "log_level": "2", "security.protocol": "SASL_SSL",
        "sasl.password": "a=b"}
    bare.setenv("KAIROS_KAFKA_OPTIONS", "security.protocol")
    with pytest.raises(SettingsError, match="KAIROS_KAFKA_OPTIONS"):
        _ = configuration.load().kafka_client
