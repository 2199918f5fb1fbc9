"""kairos plan and kairos apply: offline by themselves, and against a real broker."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from schemas import contract
from streams.adapters import control
from streams.choose.definitions import compiled
from streams.cli.demo_worlds import DEFINITIONS
from streams.cli.lifecycle import doctor
from streams.cli.playbook import apply, plan
from streams.kernel.errors import (
    DefinitionError,
    KairosError,
    PlaybookError,
    UnreachableError,
)
from streams.pipeline import PLAYBOOKS
from streams.playbooks import form, loading
from streams.settings import Settings

CART = Path(loading.__file__).parent / "shipped" / "abandoned-cart.yml"


def run(command: object, *words: str) -> Result:
    return CliRunner().invoke(command, list(words), standalone_mode=False)  # type: ignore[arg-type]


def said(result: Result) -> dict[str, list[dict[str, object]]]:
    assert result.exception is None, result.exception
    found: dict[str, list[dict[str, object]]] = json.loads(result.output)
    return found


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAIROS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAIROS_KAFKA", "127.0.0.1:9")


def test_plan_offline_shows_every_setting_of_a_new_playbook() -> None:
    text = run(plan, str(CART), "--offline").output
    assert "abandoned-cart (default): new, version 1" in text
    assert "cart_add and no purchase within 30m per cart_id" in text and "offline grammar" in text


def test_plan_prints_cost_at_three_volumes_when_a_model_is_set(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIROS_MODEL_URL", "http://127.0.0.1:9/v1")
    costs = said(run(plan, str(CART), "--offline", "--json"))["cost"]
    assert [cost["messages"] for cost in costs] == [10_000, 1_000_000, 100_000_000]
    assert "per thousand" in run(plan, str(CART), "--offline").output


def test_plan_writes_the_schema() -> None:
    assert json.loads(run(plan, "--schema").output) == form.json_schema()


def test_plan_lists_every_fault_and_fails(tmp_path: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(CART.read_text("utf-8").replace("purpose: contact", "purpos: contact")
                    .replace("lapsed", "lapst"))
    result = run(plan, str(path), "--offline")
    assert isinstance(result.exception, PlaybookError)
    assert "bad.yml:4: 'purpos' is not a field" in str(result.exception) + result.output
    path.write_text(CART.read_text("utf-8").replace("lapsed", "lapst"))
    assert "did you mean 'lapsed'?" in str(run(plan, str(path), "--offline").exception)


def test_plan_refuses_a_template_that_no_gate_would_let_through(tmp_path: Path) -> None:
    path = tmp_path / "urgent.yml"
    path.write_text(CART.read_text("utf-8").replace(
        "{reminder: {strategy: reminder}, ", "{ours: {strategy: helpful, subject: 'Hurry, "
        "{first_name}', body: 'Only a few of {item.title} are left for you. {item.url}'}, "))
    fault = run(plan, str(path), "--offline").exception
    assert isinstance(fault, PlaybookError) and "gate 'claims'" in str(fault)


def test_plan_knows_which_figures_the_definitions_in_force_have(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = CART.read_text("utf-8") + (
        "figures:\n  item_views_7d: {says: 'It was looked at {figure} times lately.', "
        "at_least: 50, max_age: 1d}\n")
    path = tmp_path / "told.yml"
    path.write_text(told)
    fault = str(run(plan, str(path), "--offline").exception)
    line = told.splitlines().index("figures:") + 2
    assert f"told.yml:{line}: figures.item_views_7d: no feature of items" in fault
    assert "none are declared" in fault and "entity: item" in fault
    monkeypatch.setenv("KAIROS_DEFINITIONS", str(DEFINITIONS))
    text = run(plan, str(path), "--offline").output
    assert re.search(r"figures\.item_views_7d.*from 50 on, up to 1d old", text)
    path.write_text(told.replace("lately", "by many, so hurry"))
    assert "does not pass the gate 'claims'" in str(run(plan, str(path), "--offline").exception)
    path.write_text(told.replace("item_views_7d", "item_view_7d"))
    assert "did you mean 'item_views_7d'?" in str(run(plan, str(path), "--offline").exception)


def test_nothing_named_two_of_a_name_and_no_broker_are_clear_errors(tmp_path: Path) -> None:
    assert isinstance(run(plan).exception, KairosError)
    other = tmp_path / "other.yml"
    other.write_text(CART.read_text("utf-8"))
    assert "two files" in str(run(plan, str(CART), str(other), "--offline").exception)


def definitions_in(folder: Path, features: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "features.yml").write_text(f"version: 7\npurpose: personalise\nfeatures:\n{features}")
    (folder / "segments.yml").write_text(
        "version: 3\nsegments:\n  keen: {feature: views, at_least: 3}\n")
    return folder


def test_plan_checks_the_definitions_too_and_lists_all_their_faults(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = definitions_in(tmp_path / "own", "  views: {event: view, kind: count, window: 500d}\n"
                            "  gap: {event: view, kind: median}\n")
    monkeypatch.setenv("KAIROS_DEFINITIONS", str(folder))
    for words in ((), (str(CART), "--offline")):
        result = run(plan, *words)
        assert isinstance(result.exception, DefinitionError)
        said_of = result.output + result.stderr + str(result.exception)
        assert "features.yml:4: features.views.window is 500d" in said_of
        assert "features.yml:5: features.gap.kind" in said_of
    told = str(run(plan, str(CART), "--offline", "--json").exception)
    assert "features.yml:4" in told and "features.yml:5" in told


def test_plan_without_files_checks_a_folder_of_definitions_and_says_its_versions(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = definitions_in(tmp_path / "own", "  views: {event: view, kind: count, window: 1d}\n")
    monkeypatch.setenv("KAIROS_DEFINITIONS", str(folder))
    (folder / "more.py").write_text(
        "from streams.choose.declaring import about, entity, feature\n"
        "about(version=2, purpose='personalise')\nentity('item', keep=8)\n"
        "feature('views_ever', event='view', kind='lifetime')\n"
        "feature('seen', entity='item', event='view', kind='count', window='1h')\n")
    told = run(plan).output
    assert "version 9 of 2 features, version 3 of 1 segments" in told
    assert re.search(r"views +88\n +views_ever +0  and 24 that others keep already\n", told)
    assert "row of every item: " in told and "8 rows kept" in told
    made = said(run(plan, "--json"))
    for row in (made["row"], *made["things"]):
        assert row["bytes"] == row["head"] + sum(each["bytes"] for each in row["features"])
    assert made["row"]["bytes"] == compiled(folder).people.row_bytes
    (folder / "more.py").unlink()
    assert "version 7 of 1 features, version 3 of 1 segments" in run(plan).output
    done = CliRunner().invoke(doctor, ["--only", "definitions", "--json"])
    assert done.exit_code == 0
    assert "version 7 of 1 features" in json.loads(done.output)["checks"][0]["detail"]


def test_a_folder_without_definitions_is_an_error_and_not_the_shipped_ones(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAIROS_DEFINITIONS", str(tmp_path / "mispelt"))
    assert "KAIROS_DEFINITIONS" in str(run(plan).exception)
    done = CliRunner().invoke(doctor, ["--only", "definitions", "--json"])
    assert done.exit_code == 1 and not json.loads(done.output)["ok"]


@pytest.mark.integration
def test_apply_publishes_what_changed_and_plan_shows_the_difference(
        broker: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAIROS_KAFKA", broker.bootstrap)
    path = tmp_path / "cart.yml"
    path.write_text(CART.read_text("utf-8"))
    words = (str(path), "--tenant", "commands", "--json")
    assert said(run(apply, *words))["playbooks"][0]["version"] == 1
    assert said(run(apply, *words))["playbooks"][0]["changed"] is False
    path.write_text(CART.read_text("utf-8").replace("cooldown: 1d", "cooldown: 2d") + "# a note\n")
    planned = said(run(plan, *words))["playbooks"][0]
    assert planned["changes"] == [{"what": "cooldown", "before": "1d", "after": "2d"}]
    assert said(run(apply, *words))["playbooks"][0]["version"] == 2
    assert said(run(apply, "--withdraw", "abandoned-cart", "--tenant", "commands",
                    "--json"))["withdrawn"] == ["abandoned-cart"]
    for foreign in (b"garbage", b"", contract(PLAYBOOKS).prefix + b"\xff"):
        producer = Producer(broker.kafka_client)
        producer.produce(PLAYBOOKS, foreign, key=b"\xff\xfe" + foreign[:3])
        assert producer.flush(20) == 0
    record = control.read_compacted(broker, PLAYBOOKS)["commands/abandoned-cart"]
    assert (record["version"], record["active"]) == (3, False)
    planned = said(run(plan, *words))["playbooks"][0]
    assert planned["changes"] == [{"what": "active", "before": "no", "after": "yes"}]


def test_without_a_broker_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_ANSWER_S", 0.5)
    fault = run(plan, str(CART)).exception
    assert isinstance(fault, UnreachableError) and "--offline" in fault.remedy
