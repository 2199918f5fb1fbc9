"""Facts only through slots: no number, currency, fraction, date or weekday in the text."""

from __future__ import annotations

import re
from functools import lru_cache

from streams.compose.quality.view import Frame, View
from streams.playbooks.templates import literal_numbers

_NUMBERS = {
    "en": "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
          "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty "
          "ninety hundred hundreds thousand thousands million millions billion billions dozen "
          "dozens half halves halved third thirds quarter quarters double doubled twice triple "
          "tripled thrice tenfold zero percent percents percentage cents dollars euros pounds "
          "quid bucks usd eur gbp dollar euro",
    "de": "zwei drei vier funf sechs sieben acht neun zehn elf zwolf zwanzig dreissig hundert "
          "tausend million millionen dutzend halb halbe halber halben doppelt dreifach prozent "
          "drittel viertel euro cent",
    "fr": "deux trois quatre cinq sept huit neuf dix onze douze vingt trente cent cents mille "
          "million millions douzaine moitie demi double triple tiers quart pourcent euro euros",
    "es": "dos tres cuatro cinco seis siete ocho nueve diez once doce veinte treinta cien ciento "
          "mil millon millones docena mitad medio doble triple tercio cuarto euro euros",
}
_DATES = {
    "en": "monday tuesday wednesday thursday friday saturday sunday january february april june "
          "july august september october november december today tonight tomorrow yesterday "
          "midnight noon weekend christmas easter",
    "de": "montag dienstag mittwoch donnerstag freitag samstag sonntag januar februar marz april "
          "mai juni juli august september oktober november dezember heute morgen gestern "
          "mitternacht wochenende",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche janvier fevrier mars avril mai "
          "juin juillet aout septembre octobre novembre decembre aujourd'hui demain hier minuit",
    "es": "lunes martes miercoles jueves viernes sabado domingo enero febrero marzo abril mayo "
          "junio julio agosto septiembre octubre noviembre diciembre hoy manana ayer medianoche",
}
_NUMBER_WORDS = {locale: frozenset(words.split()) for locale, words in _NUMBERS.items()}
_DATE_WORDS = {locale: frozenset(words.split()) for locale, words in _DATES.items()}
# "this one", "the one you chose" are no figures; "one left", "one day" are.
_ONE = re.compile(r"(?<!\bthe )(?<!\bthis )(?<!\bthat )(?<!\bwhich )(?<!\beach )(?<!\bno )\bone\b"
                  r"|\bone (?:left|more|day|hour|week|month|item|piece|only|time)\b")


def gate(view: View, frame: Frame) -> str:
    """'' or the first fact that the writer stated itself."""
    number = next(literal_numbers(view.bare), "")
    if number:
        return f"{number!r} states a figure outside a slot"
    words = frozenset(view.words)
    for kind, lexicon in _lexicons(frame.locale):
        found = words & lexicon
        if found:
            return f"the {kind} word {min(found)!r} stands outside a slot"
    if "one" in words and _ONE.search(view.folded):
        return "the number word 'one' stands outside a slot"
    return ""


@lru_cache(maxsize=64)
def _lexicons(locale: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """(kind, words) of what states a fact in a locale; English is refused in all of them."""
    return tuple((kind, lexicon["en"] | lexicon.get(locale, frozenset()))
                 for kind, lexicon in (("number", _NUMBER_WORDS), ("date", _DATE_WORDS)))
