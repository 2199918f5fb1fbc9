"""Templates of the engine's configuration, and their rendering."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from string import Template
from xml.sax.saxutils import escape

from infra.clickhouse.guard import ENGINES

# One query may have this share of the engine's memory; the rest is for merges and neighbours.
QUERY_MEMORY_RATIO = 0.7
_GRANT = "                <query>GRANT TABLE ENGINE ON {}</query>"


def render(folder: Path, *, database: str, memory_bytes: int, free_bytes: int) -> Path:
    """Write engine.xml and users.xml into `folder`; the path of engine.xml.

    memory_bytes    cap of the whole engine
    free_bytes      free space on the disk below which no rows are taken; half of it is never used
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept_bytes = free_bytes // 2
    names = {"users": str(folder / "users.xml"), "server_bytes": str(memory_bytes),
             "query_bytes": str(int(memory_bytes * QUERY_MEMORY_RATIO)), "database": database,
             "kept_bytes": str(kept_bytes), "floor_bytes": str(free_bytes - kept_bytes)}
    escaped = {key: escape(value) for key, value in names.items()}
    escaped["engines"] = "\n".join(_GRANT.format(engine) for engine in sorted(ENGINES))
    for name in ("users.xml", "engine.xml"):
        text = Template((files(__package__) / name).read_text()).substitute(escaped)
        fresh = folder / f".{name}.{os.getpid()}"
        fresh.write_text(text)
        fresh.replace(folder / name)
    return folder / "engine.xml"
