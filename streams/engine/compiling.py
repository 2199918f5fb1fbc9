"""How functions of hot loops are compiled: cached on disk, without the GIL, without references.

Compiled code here works on arrays that its caller holds and makes none itself, so numba need not
count references to them: every access to a tuple of arrays would cost two atomic additions, which
was more than a third of all time. A function that makes an array fails to compile under this.
Division follows numpy: there is no exception to raise.

numba's cache notices a change of a function's own file, not of a file whose functions it calls. So
each state of the sources has a cache of its own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config

_STREAMS = Path(__file__).resolve().parents[1]


def _sources_digest() -> str:
    """Of all files in which compiled functions may stand."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in ("kernel", "engine", "choose"):
        for source in sorted((_STREAMS / folder).rglob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()


_numba: Any = config            # its names are made at import, from the environment
if not _numba.CACHE_DIR:        # NUMBA_CACHE_DIR says otherwise
    _numba.CACHE_DIR = str(_STREAMS / "__pycache__" / f"compiled-{_sources_digest()}")

# `_nrt` is numba's own name for it; it is not in its type stubs.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
dispatchers: list[Any] = []          # all that was made by `compiled`; each knows its signatures


def compiled(function: Any) -> Any:
    """A decorator: the function is compiled at its first call with arguments of some types, or read
    from disk where that was done before."""
    dispatcher = njit(**_OPTIONS)(function)
    dispatchers.append(dispatcher)
    return dispatcher
