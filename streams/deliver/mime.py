"""An e-mail's final bytes: multipart text and HTML, ASCII on the wire, lines ended by CRLF.

Written by hand because the standard library folds long header words (our List-Unsubscribe URL) into
encoded words that no mail provider reads; its parser reads every message back in the tests.
Sources: RFC 5322 (headers), RFC 2047 (encoded words), RFC 2045 (quoted-printable), RFC 8058
(one-click unsubscribe).
"""

from __future__ import annotations

import binascii
import html
import re
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, formataddr, parseaddr
from functools import lru_cache

from streams.deliver.binding import Bound, Piece, one_line

_BUTTONS = {"de": "Ansehen", "en": "Take a look", "es": "Ver", "fr": "Voir", "it": "Guarda",
            "nl": "Bekijken", "pt": "Ver"}
_WAYS_OUT = {"de": "Abmelden", "en": "Unsubscribe", "es": "Darse de baja", "fr": "Se désabonner",
             "it": "Annulla l'iscrizione", "nl": "Afmelden", "pt": "Cancelar inscrição"}
_BARE_NEWLINE = re.compile(rb"(?<!\r)\n")
_PAGE = (
    '<!doctype html><html lang="{locale}"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"></head>'
    '<body style="margin:0;background:#f4f4f2"><div style="max-width:560px;margin:0 auto;'
    "padding:32px 28px;background:#fff;color:#1d1d1f;"
    'font:16px/1.55 -apple-system,Segoe UI,Helvetica,Arial,sans-serif">{body}</div>'
    '<img src="{pixel}" width="1" height="1" alt="" style="display:block"></body></html>')
_BUTTON = ('<a href="{href}" style="display:inline-block;padding:11px 20px;border-radius:6px;'
           'background:#0b5c4d;color:#fff;text-decoration:none">{label}</a>')
_LINK = '<a href="{href}" style="color:#0b5c4d">{label}</a>'
_QUIET = '<a href="{href}" style="color:#6b6b70;font-size:13px">{label}</a>'


@lru_cache(maxsize=16)      # KAIROS_MAIL_FROM is one address for the life of a process
def _sender(sender: str) -> tuple[str, str]:
    """(the From header's value, the address)."""
    name, address = parseaddr(sender)
    return formataddr((one_line(name), one_line(address))), address


def host_of(sender: str) -> str:
    """The domain that message ids are made under."""
    return _sender(sender)[1].rpartition("@")[2] or "kairos.invalid"


def message_id(decision_id: str, sender: str) -> str:
    """The same for every repeat of a decision, so that receivers can drop a repeat."""
    return f"<{decision_id}@{host_of(sender)}>"


def _locale(locale: str) -> str:
    return locale.replace("_", "-").partition("-")[0].lower()


def _quoted_printable(text: str) -> bytes:
    raw = text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    return _BARE_NEWLINE.sub(b"\r\n", binascii.b2a_qp(raw, istext=True))


def _plain(bound: Bound, locale: str) -> str:
    """The text part; the way out gets its word where it stands on a line of its own."""
    out = ""
    for piece in bound.pieces:
        if piece.kind == "unsubscribe" and (not out or out.endswith("\n")):
            out += f"{_WAYS_OUT.get(locale, _WAYS_OUT['en'])}: "
        out += piece.href or piece.text
    return out.strip("\n") + "\n"


def _stands_alone(pieces: tuple[Piece, ...], index: int) -> bool:
    before = "\n" if index == 0 else pieces[index - 1].text
    after = "\n" if index + 1 == len(pieces) else pieces[index + 1].text
    return before.endswith("\n") and (after.startswith("\n") or not after)


def _marked_up(bound: Bound, locale: str) -> str:
    """The HTML part, generated from the same pieces as the text."""
    out, pieces = [], bound.pieces
    for index, piece in enumerate(pieces):
        href = html.escape(piece.href)
        if piece.kind == "text":
            out.append(html.escape(piece.text))
        elif piece.kind == "unsubscribe":
            label = html.escape(_WAYS_OUT.get(locale, _WAYS_OUT["en"]))
            out.append(_QUIET.format(href=href, label=label))
        elif _stands_alone(pieces, index):
            out.append(_BUTTON.format(href=href, label=_BUTTONS.get(locale, _BUTTONS["en"])))
        else:
            out.append(_LINK.format(href=href, label=html.escape(piece.text)))
    paragraphs = re.split(r"\n{2,}", "".join(out).strip("\n"))
    body = "".join(f"<p>{part.replace(chr(10), '<br>' + chr(10))}</p>\n" for part in paragraphs)
    return _PAGE.format(locale=html.escape(locale), body=body, pixel=html.escape(bound.pixel_url))


def _header(name: str, value: str) -> str:
    plain = one_line(value)
    if plain.isascii() and len(name) + len(plain) < 76:
        return f"{name}: {plain}"
    charset = "us-ascii" if plain.isascii() else "utf-8"
    coded = Header(plain, charset, maxlinelen=75, header_name=name).encode(linesep="\r\n")
    return f"{name}: {coded}"


def _part(kind: str, text: str) -> bytes:
    head = (f"Content-Type: text/{kind}; charset=utf-8\r\n"
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n")
    return head.encode("ascii") + _quoted_printable(text) + b"\r\n"


def write(bound: Bound, *, decision_id: str, variant: str, sender: str, locale: str,
          date_ms: int) -> bytes:
    """The whole message. `sender` as in KAIROS_MAIL_FROM; `date_ms` goes into the Date header."""
    boundary, tongue = f"=_{decision_id}", _locale(locale)
    headers = "\r\n".join((
        f"From: {_sender(sender)[0]}",
        f"To: {bound.address}",
        _header("Subject", bound.subject),
        f"Date: {format_datetime(datetime.fromtimestamp(date_ms / 1000, UTC))}",
        f"Message-ID: {message_id(decision_id, sender)}",
        f"List-Unsubscribe: <{bound.unsubscribe_url}>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        f"X-Kairos-Decision: {decision_id}",
        _header("X-Kairos-Variant", variant),
        "MIME-Version: 1.0",
        f'Content-Type: multipart/alternative; boundary="{boundary}"'))
    line = f"--{boundary}".encode("ascii")
    return b"".join((headers.encode("ascii"), b"\r\n\r\n",
                     line, b"\r\n", _part("plain", _plain(bound, tongue)),
                     line, b"\r\n", _part("html", _marked_up(bound, tongue)),
                     line, b"--\r\n"))
