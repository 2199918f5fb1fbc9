"""Touching: ask the processor for memory a little before it is needed.

With millions of rows nearly everything that an event asks for is far away: a hundred nanoseconds
each, one after the other when each tells where the next lies. Who goes over a batch knows what
comes: it asks for what the next AHEAD entries need, and the waits lie beside each other.

A touch changes nothing and cannot fail, wherever it points; a processor that knows no such
instruction passes over it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

AHEAD = 16              # entries: many waits side by side, and still less than a cache holds
LINE = 64               # bytes that come together

_BYTE, _I32 = ir.IntType(8), ir.IntType(32)
_TO_READ, _TO_KEEP, _DATA = 0, 3, 1         # of LLVM's `prefetch`


@intrinsic
def touch(typing: Any, array: Any, at: Any) -> Any:
    """Ask for the line that holds byte `at` of an array without gaps."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, number = signature.args
        held = context.make_array(kind)(context, builder, arguments[0])
        offset = context.cast(builder, arguments[1], number, types.intp)
        start = builder.bitcast(held.data, _BYTE.as_pointer())
        prefetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), *3 * [_I32]]),
            "llvm.prefetch.p0")
        builder.call(prefetch, [builder.gep(start, [offset]),
                                *(ir.Constant(_I32, number)
                                  for number in (_TO_READ, _TO_KEEP, _DATA))])
        return context.get_dummy_value()

    return types.void(array, at), generate
