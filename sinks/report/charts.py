"""Plots as inline SVG, drawn here so that the page needs nothing from anywhere. Pure.

Colours are classes; the page's style sheet gives them for light and for dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 720
_LABEL = 190          # columns kept for the names at the left
_ROW = 26


@dataclass(frozen=True, slots=True)
class Span:
    """One row of an interval plot; `truth` only where somebody knows it. In percent."""

    label: str
    low: float
    estimate: float
    high: float
    truth: float | None = None
    minor: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """`note` stands behind the bar; `kind` is its colour class."""

    label: str
    value: float
    note: str = ""
    kind: str = "main"


@dataclass(frozen=True, slots=True)
class Line:
    label: str
    points: Sequence[tuple[float, float]]


def intervals(spans: Sequence[Span], unit: str) -> str:
    """Estimates with their intervals around a line at zero; the truth as a diamond."""
    reach = [v for s in spans for v in (s.low, s.high, s.truth) if v is not None]
    low, high = min([*reach, 0.0]), max([*reach, 0.0])
    pad = (high - low or 1.0) * 0.06
    scale = _Scale(low - pad, high + pad, _LABEL, WIDTH - 16)
    height = _ROW * len(spans) + 30
    parts = [_axis(scale, height - 22, unit), _vertical(scale.at(0.0), height - 22, "zero")]
    for number, span in enumerate(spans):
        parts.append(_span(span, scale, number * _ROW + 16))
    return _svg(parts, height, "Effects with their intervals")


def _span(span: Span, scale: _Scale, y: float) -> str:
    kind = "minor" if span.minor else (
        "unclear" if span.low <= 0 <= span.high else "good" if span.low > 0 else "bad")
    left, middle, right = scale.at(span.low), scale.at(span.estimate), scale.at(span.high)
    truth = ""
    if span.truth is not None:
        x = scale.at(span.truth)
        truth = (f'<path class="truth" d="M{x:.1f} {y - 7:.1f}l5 7l-5 7l-5 -7z">'
                 f"<title>truth {span.truth:.2f}</title></path>")
    said = f"{span.estimate:+.2f} [{span.low:+.2f}, {span.high:+.2f}]"
    return (f'<text class="label" x="{_LABEL - 12}" y="{y + 4:.1f}">{escape(span.label)}</text>'
            f'<line class="whisker {kind}" x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot {kind}" cx="{middle:.1f}" cy="{y}" r="4">'
            f"<title>{said}</title></circle>{truth}")


def bars(rows: Sequence[Bar]) -> str:
    """Horizontal bars from zero, with their value and note behind them."""
    top = max((row.value for row in rows), default=0.0) or 1.0
    room = WIDTH - _LABEL - 210
    parts = []
    for number, row in enumerate(rows):
        y = number * _ROW + 4
        long = max(1.5, row.value / top * room) if row.value else 0.0
        parts.append(
            f'<text class="label" x="{_LABEL - 12}" y="{y + 13}">{escape(row.label)}</text>'
            f'<rect class="bar {escape(row.kind)}" x="{_LABEL}" y="{y}" width="{long:.1f}" '
            f'height="16" rx="2"/><text class="value" x="{_LABEL + long + 8:.1f}" y="{y + 13}">'
            f"{number_text(row.value)}"
            f'<tspan class="note" dx="8">{escape(row.note)}</tspan></text>')
    return _svg(parts, _ROW * len(rows) + 4, "Bars")


def columns(rows: Sequence[Bar], unit: str) -> str:
    """Upright columns side by side, for a spread over ordered buckets."""
    top = max((row.value for row in rows), default=0.0) or 1.0
    step = min(80.0, (WIDTH - 40) / max(1, len(rows)))
    parts = []
    for number, row in enumerate(rows):
        high = row.value / top * 110
        x = 20 + number * step
        parts.append(
            f'<rect class="bar {escape(row.kind)}" x="{x + 3:.1f}" y="{126 - high:.1f}" '
            f'width="{step - 6:.1f}" height="{high:.1f}" rx="2"/>'
            f'<text class="tick" x="{x + step / 2:.1f}" y="141">{escape(row.label)}</text>'
            f'<text class="tick" x="{x + step / 2:.1f}" y="{121 - high:.1f}">'
            f"{number_text(row.value)}</text>")
    parts.append(f'<text class="tick end" x="{WIDTH - 4}" y="156">{escape(unit)}</text>')
    return _svg(parts, 160, "Spread")


def lines(drawn: Sequence[Line], unit: str) -> str:
    """Lines over time from zero; x in seconds from the first point."""
    every = [point for line in drawn for point in line.points]
    if not every:
        return ""
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    top = max(y for _, y in every) or 1.0
    across = _Scale(0, max(1.0, last - first), 56, WIDTH - 16)
    up = _Scale(0, top, 150, 24)
    parts = [_axis(across, 150, "s")]
    for value in (top / 2, top):
        y = up.at(value)
        parts.append(f'<line class="grid" x1="56" x2="{WIDTH - 16}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text class="tick end" x="50" y="{y + 4:.1f}">{number_text(value)}</text>')
    for number, line in enumerate(drawn):
        path = "".join(f"{'L' if i else 'M'}{across.at(x - first):.1f} {up.at(y):.1f}"
                       for i, (x, y) in enumerate(sorted(line.points)))
        parts.append(f'<path class="line line{number % 4}" d="{path}"/>'
                     f'<text class="key key{number % 4}" x="{60 + number * 130}" y="12">'
                     f"{escape(line.label)}</text>")
    parts.append(f'<text class="tick end" x="{WIDTH - 16}" y="12">{escape(unit)}</text>')
    return _svg(parts, 176, "Over time")


def strip(rows: Sequence[Bar]) -> str:
    """One bar of shares that make up a whole; slivers stay visible."""
    total = sum(row.value for row in rows) or 1.0
    shown = [row for row in rows if row.value]
    room = WIDTH - 8 - 4 * len(shown)
    parts, x = [], 4.0
    for row in shown:
        wide = row.value / total * room + 4
        parts.append(f'<rect class="bar {escape(row.kind)}" x="{x:.1f}" y="4" '
                     f'width="{wide - 1:.1f}" height="22" rx="2"><title>{escape(row.label)} '
                     f"{number_text(row.value)}</title></rect>")
        x += wide
    return _svg(parts, 30, "Shares")


def number_text(value: float) -> str:
    """A number as people read it: 12,345 or 3.25."""
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.2f}"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps [low, high] onto [left, right] of the drawing."""

    low: float
    high: float
    left: float
    right: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.left + share * (self.right - self.left)

    def ticks(self) -> list[float]:
        """About five round numbers within the scale."""
        rough = (self.high - self.low) / 5
        step = 10.0 ** math.floor(math.log10(rough))
        step *= next(m for m in (1, 2, 5, 10) if m * step >= rough)
        first = math.ceil(self.low / step)
        return [n * step for n in range(first, math.floor(self.high / step) + 1)]


def _axis(scale: _Scale, y: float, unit: str) -> str:
    marks = "".join(f'<text class="tick" x="{scale.at(t):.1f}" y="{y + 16:.1f}">{t:g}{unit}</text>'
                    f'<line class="grid" x1="{scale.at(t):.1f}" x2="{scale.at(t):.1f}" y1="{y:.1f}"'
                    f' y2="{y + 4:.1f}"/>' for t in scale.ticks())
    return (f'<line class="axis" x1="{scale.left}" x2="{scale.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            + marks)


def _vertical(x: float, height: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{height:.1f}"/>'


def _svg(parts: Sequence[str], height: float, title: str) -> str:
    return (f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
            + "".join(parts) + "</svg>")
