"""Money: integer micro-units of a currency (1 USD = 1,000,000 micros). Never floats in records."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

MICROS = 1_000_000
# Below it, a product of doubles is less than 1/8 beside the product of the decimals that they show.
_NEAR_MAX = 2.0**49


def to_micros(amount: object) -> int:
    """Micro-units of an amount in whole units. Raises ValueError for what is no finite number.

    A double counts as the decimal that it shows, and halves go to the even neighbour.
    """
    if type(amount) is float:
        near = amount * MICROS
        if -_NEAR_MAX < near < _NEAR_MAX:
            micros = round(near)
            if -0.25 < near - micros < 0.25:         # far from a half: no other number is nearer
                return micros
    return _exactly(amount)


def _exactly(amount: object) -> int:
    if isinstance(amount, bool) or amount is None:
        raise ValueError(f"{amount!r} is not an amount")
    try:
        exact = Decimal(str(amount)) * MICROS
        if not exact.is_finite() or abs(exact) >= 2**62:
            raise ValueError(f"{amount!r} is not an amount")
        return int(exact.to_integral_value(ROUND_HALF_EVEN))
    except InvalidOperation:
        raise ValueError(f"{amount!r} is not an amount") from None


def show(micros: int, places: int = 2) -> str:
    """Whole units with `places` decimals: 12500000 -> '12.50'."""
    return f"{Decimal(micros) / MICROS:.{places}f}"
