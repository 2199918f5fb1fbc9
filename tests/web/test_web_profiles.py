"""GET /v1/profiles: closed to everybody but the operator, and what it refuses before it asks."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient
from web_parts import OPERATOR_KEY, PROFILE, Recorder, client_at, parts_at

from streams.adapters import reading
from streams.adapters.web.app import create_app

URL = f"/v1/profiles/{PROFILE}"


@pytest.mark.parametrize("said", [
    None, "", "Bearer", "Bearer ", f"Bearer {OPERATOR_KEY[:-1]}", f"Bearer {OPERATOR_KEY}0",
    f"Basic {OPERATOR_KEY}", OPERATOR_KEY, "Bearer é", f"Bearer  x{OPERATOR_KEY}"])
def test_without_the_operator_key_nothing_is_told(said: str | None, tmp_path: Path) -> None:
    headers = {} if said is None else {"Authorization": said.encode()}
    for url in (URL, "/v1/profiles/nonsense", "/v1/entities/item/sku", "/v1/entities/no/sku"):
        answer = client_at(tmp_path, Recorder()).get(url, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["reason"] == "not_allowed"
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_house_without_an_operator_key_lets_nobody_in(tmp_path: Path) -> None:
    parts = parts_at(tmp_path, Recorder())
    parts.operator_key = ""
    assert TestClient(create_app(parts)).get(
        URL, headers={"Authorization": "Bearer "}).status_code == 401


@pytest.mark.parametrize("name", ["nonsense", PROFILE[:-1], PROFILE + "0", PROFILE.upper(),
                                  "%01default%1Fvip", "%00mark"])
def test_what_is_no_profile_id_is_not_looked_for(name: str, tmp_path: Path) -> None:
    """Among them the keys under which rows of segments and of the engine itself stand."""
    answer = client_at(tmp_path, Recorder()).get(
        f"/v1/profiles/{name}", headers={"Authorization": f"Bearer {OPERATOR_KEY}"})
    assert answer.status_code == 404
    assert answer.json()["error"]["reason"] == "bad_value"


def test_things_that_are_not_declared_are_not_looked_for(tmp_path: Path) -> None:
    answer = client_at(tmp_path, Recorder()).get(
        "/v1/entities/property.shoe/a/b", headers={"Authorization": f"Bearer {OPERATOR_KEY}"})
    assert answer.status_code == 404
    assert answer.json()["error"]["field"] == "entity"
    assert "property.shoe" in answer.text


def test_a_broker_that_is_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_WAIT_S", 0.5)
    answer = client_at(tmp_path, Recorder(), kafka="127.0.0.1:1").get(
        URL, headers={"Authorization": f"bearer {OPERATOR_KEY}"})
    assert answer.status_code == 503
    assert answer.json()["error"]["reason"] == "broker_unreachable"
    assert answer.headers["Retry-After"] == "5"
