"""Client of a Confluent-compatible schema registry: the writer's schema of an id, cached for good.

An id never changes its meaning there, so what was found is never asked again. What was not found is
asked again after a while: it may be registered yet.
"""

from __future__ import annotations

import time
from typing import Any

import httpx
import orjson

from streams.kernel.errors import UnreachableError

WAIT_S = 5.0
ATTEMPTS_MAX = 3
ABSENT_S = 30.0


class SchemaRegistry:
    """`url` may carry user:password@ for basic authentication. Blocks while it asks."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url.rstrip("/") + "/", timeout=WAIT_S,
                                  headers={"Accept": "application/vnd.schemaregistry.v1+json"})
        self._host = httpx.URL(url).host
        self._found: dict[int, Any] = {}
        self._absent_until_s: dict[int, float] = {}

    def writer_schema(self, schema_id: int) -> Any | None:
        """The Avro schema as parsed JSON; None when unknown, not Avro, or with references.

        Raises UnreachableError when the registry does not answer after three attempts.
        """
        if schema_id in self._found:
            return self._found[schema_id]
        if time.monotonic() < self._absent_until_s.get(schema_id, 0.0):
            return None
        schema = self._fetch(schema_id)
        if schema is None:
            self._absent_until_s[schema_id] = time.monotonic() + ABSENT_S
        else:
            self._found[schema_id] = schema
        return schema

    def _fetch(self, schema_id: int) -> Any | None:
        reply = self._get(f"schemas/ids/{schema_id}")
        if reply.status_code == httpx.codes.NOT_FOUND:
            return None
        if reply.status_code != httpx.codes.OK:
            raise self._unreachable(f"answered {reply.status_code}")
        try:
            answer = orjson.loads(reply.content)
            if answer.get("schemaType", "AVRO") != "AVRO" or answer.get("references"):
                return None
            return orjson.loads(answer["schema"])
        except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError):
            raise self._unreachable("answered with something that is no schema") from None

    def _get(self, path: str) -> httpx.Response:
        fault = ""
        for _ in range(ATTEMPTS_MAX):
            try:
                reply = self._http.get(path)
                if reply.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    return reply
                fault = f"answered {reply.status_code}"
            except httpx.HTTPError as error:
                fault = f"does not answer ({type(error).__name__})"
        raise self._unreachable(fault)

    def _unreachable(self, fault: str) -> UnreachableError:
        return UnreachableError(f"the schema registry at {self._host} {fault}",
                                "check KAIROS_SCHEMA_REGISTRY, or start the registry")

    def close(self) -> None:
        self._http.close()
