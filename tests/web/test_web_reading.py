"""What an operator reads: index, mailbox, report."""

from __future__ import annotations

from pathlib import Path

import pytest
from web_parts import DECISION, Recorder, client_at

from streams.adapters.mailbox import Mailbox

RAW = (b"From: a@b.example\r\nTo: %b\r\nSubject: Lamp <b>%b</b>\r\nMessage-ID: <%b@b.example>\r\n"
       b"X-Kairos-Decision: " + DECISION.encode() + b"\r\nMIME-Version: 1.0\r\n"
       b"Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n"
       b"\r\nHello <script>\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>Hi</p><script>1</script>"
       b"\r\n--x--\r\n")


@pytest.fixture
def box(tmp_path: Path) -> Mailbox:
    box = Mailbox(tmp_path / "mail" / "mailbox.sqlite")
    for at in range(60):
        name = f"{at:02d}".encode()
        to = b"p" + name + b"@shop.example"
        box.add(RAW % (to, name, name), [to.decode()], now_ms=1_760_000_000_000 + at)
    return box


def test_the_index_says_where_everything_is(tmp_path: Path, box: Mailbox) -> None:
    page = client_at(tmp_path, Recorder()).get("/").text
    for word in ("60 messages", "/report", "http://127.0.0.1:18123", "/v1/events", "events.raw"):
        assert word in page.replace("\n", " ")


def test_an_empty_house_has_pages_too(tmp_path: Path) -> None:
    client = client_at(tmp_path, Recorder())
    assert client.get("/healthz").json() == {"ok": True}
    assert "No message has come in yet" in client.get("/mailbox").text
    assert "0 messages" in client.get("/").text
    for path in ("/mailbox/1", "/mailbox/1/html", "/mailbox/1/raw", "/report", "/report.json",
                 f"/mailbox/{2**80}"):
        assert client.get(path).status_code == 404, path


def test_the_mailbox_pages_back_from_the_newest(tmp_path: Path, box: Mailbox) -> None:
    client = client_at(tmp_path, Recorder())
    first = client.get("/mailbox").text
    assert "p59@" in first and "p10@" in first and "p09@" not in first
    assert client.get(f"/mailbox?before={'9' * 5000}").status_code == 200
    older = client.get("/mailbox?before=11").text
    assert "p09@" in older and "p10@" not in older and "Older" not in older


@pytest.mark.parametrize(("search", "count"), [
    ("p07@", 1), (DECISION, 50), ("Lamp", 50), ("%", 0), ("_", 0), ("' OR 1=1", 0)])
def test_the_search_takes_words_literally(search: str, count: int, tmp_path: Path,
                                          box: Mailbox) -> None:
    page = client_at(tmp_path, Recorder()).get("/mailbox", params={"q": search}).text
    assert page.count('<td class="time"') == count


def test_a_message_is_shown_without_its_scripts_and_pictures(tmp_path: Path, box: Mailbox) -> None:
    client = client_at(tmp_path, Recorder())
    page = client.get("/mailbox/3")
    assert "<script" not in page.text and "Hello &lt;script&gt;" in page.text
    assert "Lamp &lt;b&gt;02&lt;/b&gt;" in page.text and f"kairos why {DECISION}" in page.text
    html = client.get("/mailbox/3/html")
    policy = html.headers["content-security-policy"]
    assert policy.startswith("sandbox ") and "allow-scripts" not in policy
    assert "img-src" not in policy and "default-src 'none'" in policy
    raw = client.get("/mailbox/3/raw")
    assert raw.headers["content-type"].startswith("text/plain") and b"<script>" in raw.content


def test_the_report_is_served_when_it_is_there(tmp_path: Path) -> None:
    client = client_at(tmp_path, Recorder())
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("<h1>Lift</h1>")
    (tmp_path / "report" / "report.json").write_text('{"a": 1}')
    assert client.get("/report").text == "<h1>Lift</h1>"
    assert client.get("/report.json").json() == {"a": 1}
    assert 'href="/report.json"' in client.get("/").text
