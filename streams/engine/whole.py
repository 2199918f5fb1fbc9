"""Whole numbers in compiled code: division by what is not known beforehand, without the slow one,
and sums that stop at the greatest number there is.

A 64-bit division takes tens of cycles, a float one a few. The quotient of numbers below 2**53 is
off by at most one, which the remainder tells.
"""

from __future__ import annotations

import numpy as np

from streams.engine.compiling import compiled

GREATEST = (1 << 63) - 1


@compiled
def divided(a, b):
    """a // b for 0 <= a < 2**53, 0 < b."""
    quotient = np.int64(a / b)
    rest = a - quotient * b
    if rest < 0:
        quotient -= 1
    elif rest >= b:
        quotient += 1
    return quotient


@compiled
def plus(a, b):
    """a + b, or the greatest or least number there is: what is full never changes its sign."""
    if b > 0 and a > GREATEST - b:
        return GREATEST
    if b < 0 and a < -GREATEST - b:
        return -GREATEST
    return a + b
