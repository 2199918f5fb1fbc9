"""Binding: the name and the address, from the vault, at the last moment.

In       a Message, the person's name and address, the signer of links
Out      Bound: pieces of the final text | Refused
Keeps    nothing
Refuses  no_address, gates_failed
Time     none

Everything here is bound in one pass, so a name cannot smuggle in a slot, a link or a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from streams.deliver.links import Signer, is_web_address
from streams.kernel.outcomes import Refused

NAME_CHARS_MAX: Final = 60
SUBJECT_CHARS_MAX: Final = 250
ADDRESS_CHARS_MAX: Final = 254

_SLOT_OR_LINK = re.compile(
    r"\{(?P<slot>first_name|unsubscribe_url)\}|(?P<link>https?://[^\s<>\"'(){}\[\]]+)")
# How a text reads without a name: "Hi {first_name}," as "Hi,", "Dear {first_name}," as "Hello,",
# "{first_name}, it is" as "It is".
_CALL = re.compile(r"(?P<dear>\bDear +\{first_name\})"
                   r"|(?m:^)\{first_name\}[,:]?[ \t]*(?P<next>\w?)|,?[ \t]*\{first_name\}")
_TRAILING = ".,;:!?"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_LINE_BREAK = re.compile(r"[\r\n\x0b\x0c\x85\u2028\u2029]+")
_BAD_NAME = re.compile(r"[{}<>@\[\]\\|`\"]|://|www\.", re.IGNORECASE)
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the body: text as it stands, a link (`href` leads through us), unsubscribe."""

    kind: Literal["text", "link", "unsubscribe"]
    text: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Bound:
    """A message with everything in it. `subject` is one line."""

    address: str
    subject: str
    pieces: tuple[Piece, ...]
    unsubscribe_url: str
    pixel_url: str

    @property
    def text(self) -> str:
        return "".join(piece.href or piece.text for piece in self.pieces)


def one_line(text: str) -> str:
    """`text` without line breaks and control characters: fit for a header."""
    return _CONTROL.sub("", _LINE_BREAK.sub(" ", text)).strip()


def fit_name(name: str | None) -> str:
    """A name as it may stand in a message; "" for none or for mischief."""
    plain = one_line(name or "")
    if not plain or len(plain) > NAME_CHARS_MAX or _BAD_NAME.search(plain):
        return ""
    return plain


def nameless(text: str) -> str:
    """`text` for somebody whose name is not known: nobody is called anything."""
    return _CALL.sub(lambda call: "Hello" if call["dear"] else (call["next"] or "").upper(), text)


def fit_address(address: str | None) -> str | None:
    """The address with its domain in ASCII, or None when no mail could go there."""
    local, at, domain = (address or "").strip().rpartition("@")
    if not at:
        return None
    try:
        plain = f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return None
    if len(plain) > ADDRESS_CHARS_MAX or len(local) > 64 or not _ADDRESS.fullmatch(plain):
        return None
    return plain


def _pieces(body: str, name: str, signer: Signer) -> Iterator[Piece]:
    """Cut `body` at its slots and links; every link leads through our click address."""
    at = 0
    for match in _SLOT_OR_LINK.finditer(body):
        yield Piece("text", body[at:match.start()])
        at = match.end()
        if match["slot"] == "first_name":
            yield Piece("text", name)
        elif match["slot"] == "unsubscribe_url":
            yield Piece("unsubscribe", "", signer.unsubscribe)
        else:
            target = match["link"].rstrip(_TRAILING)
            at = match.start() + len(target)
            yield Piece("link", target, signer.click(target))
    yield Piece("text", body[at:])


def _completed(pieces: list[Piece], message: Mapping[str, Any], signer: Signer) -> list[Piece]:
    """Add the call to action and the way out where the writer left them out."""
    link = message["link"]
    if is_web_address(link) and not any(piece.kind == "link" for piece in pieces):
        pieces += [Piece("text", "\n\n"), Piece("link", link, signer.click(link))]
    if not any(piece.kind == "unsubscribe" for piece in pieces):
        pieces += [Piece("text", "\n\n--\n"), Piece("unsubscribe", "", signer.unsubscribe)]
    return [piece for piece in pieces if piece.text or piece.href]


def _fault(subject: str, pieces: list[Piece]) -> str:
    """What is wrong with the final text, or "". Reads what really goes out."""
    final = subject + "".join(piece.text for piece in pieces)
    if "{" in final or "}" in final:
        return "a slot is left over"
    if _CONTROL.search(final.replace("\r\n", "\n")):
        return "a control character is in the text"
    return ""


def bind(message: Mapping[str, Any], signer: Signer, *, first_name: str | None,
         address: str | None) -> Bound | Refused:
    """The message with name, address and links in it, or why it cannot be bound.

    `address` is None where the channel needs none (an empty Bound.address then).
    """
    name = fit_name(first_name)
    subject, body = message["subject"], message["body"].replace("\r\n", "\n")
    if not name:
        subject, body = nameless(subject), nameless(body)
    subject = one_line(subject.replace("{first_name}", name))[:SUBJECT_CHARS_MAX]
    if not body.strip():
        return Refused("gates_failed", "body", "the body is empty")
    pieces = _completed(list(_pieces(body, name, signer)), message, signer)
    fault = _fault(subject, pieces)
    if fault:
        return Refused("gates_failed", "body", fault)
    plain = "" if address is None else fit_address(address)
    if plain is None:
        return Refused("no_address", "email", "the address is not valid")
    return Bound(plain, subject, tuple(pieces), signer.unsubscribe, signer.pixel)
