"""Request bodies: read up to a limit, and taken as one JSON object or an array of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request

from schemas import json_text


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a body, in the API's error shape."""

    reason: str
    detail: str
    field: str = ""
    status: int = 400


class TooLargeError(Exception):
    pass


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The body; reads no further than the limit. Raises TooLargeError."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise TooLargeError(f"the request has more than {bytes_max} bytes; send fewer at once")
    return bytes(body)


def elements(body: bytes, *, count_max: int) -> list[tuple[str, dict[str, Any]]] | Fault:
    """The objects in `body` with their places: "" for a lone one, "[2]" in an array."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        field, detail = json_text.explain(body, fault)
        return Fault("not_json", f"the body {detail}", field)
    for field in json_text.beyond(body):
        return Fault("bad_value", json_text.BEYOND, field)
    if isinstance(said, dict):
        return [("", said)]
    if not isinstance(said, list):
        return Fault("wrong_type", "the body must be a JSON object or an array of objects")
    if len(said) > count_max:
        return Fault("too_large", f"at most {count_max} objects in one request", status=413)
    for index, each in enumerate(said):
        if not isinstance(each, dict):
            return Fault("wrong_type", "must be a JSON object", f"[{index}]")
    return [(f"[{index}]", each) for index, each in enumerate(said)]
