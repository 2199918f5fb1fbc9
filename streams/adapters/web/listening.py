"""Ports: taken with a clear sentence when they cannot be had, and served until a signal comes."""

from __future__ import annotations

import socket

import uvicorn
from starlette.applications import Starlette

from streams.kernel.errors import SetupError


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A socket bound to `host`:`port`. Raises SetupError that names the setting to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(256)
    except OSError as fault:
        bound.close()
        raise SetupError(f"port {port} on {host} cannot be used: {fault.strerror}",
                         f"stop what listens there, or set {setting}") from fault
    return bound


async def serve_http(app: Starlette, where: socket.socket) -> None:
    """Serve `app` on a bound socket until SIGTERM or SIGINT."""
    server = uvicorn.Server(uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=3,
        server_header=False, date_header=True))
    await server.serve(sockets=[where])
