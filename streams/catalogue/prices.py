"""Prices as people of a locale write them."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from streams.kernel.money import MICROS

_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "CHF": "CHF", "SEK": "kr",
          "NOK": "kr", "DKK": "kr", "PLN": "zł", "CZK": "Kč", "BRL": "R$"}
_PLACES = {"JPY": 0, "KRW": 0, "CLP": 0, "VND": 0, "ISK": 0, "HUF": 0, "BHD": 3, "KWD": 3, "TND": 3}
# locale -> (group, decimal, sign before the number)
_STYLES = {"en": (",", ".", True), "de": (".", ",", False), "fr": ("\u202f", ",", False),
           "es": (".", ",", False)}


def show_price(price_micros: int, currency: str, locale: str) -> str:
    """`price_micros` of an ISO 4217 `currency`: 4250000 GBP en -> '£4.25', EUR de -> '4,25 €'.

    Currencies whose sign is a word, or is not known, stand by their code: '12.00 SGD'.
    """
    places = _PLACES.get(currency, 2)
    group, point, leads = _STYLES.get(locale, _STYLES["en"])
    amount = (Decimal(price_micros) / MICROS).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    number = f"{amount:,.{places}f}".translate({ord(","): group, ord("."): point})
    sign = _SIGNS.get(currency, currency)
    if leads and not sign[0].isalpha():
        return f"{sign}{number}"
    return f"{number}\u00a0{sign}"
