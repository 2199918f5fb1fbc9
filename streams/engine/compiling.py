"""How functions of hot loops are compiled: cached on disk, without the GIL, without references.

Compiled code here works on arrays that its caller holds and makes none itself, so numba need not
count references to them: every access to a tuple of arrays would cost two atomic additions, which
was more than a third of all time. A function that makes an array fails to compile under this.
Division follows numpy: there is no exception to raise.
"""

from __future__ import annotations

from typing import Any

from numba import njit

# `_nrt` is numba's own name for it; it is not in its type stubs.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
compiled = njit(**_OPTIONS)
