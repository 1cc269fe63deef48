"""Charts in one style: a palette with a shape for each colour, readable ink, a sentence below.

A chart's own menu saves it as PNG and shows its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import widgets

Chart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.HConcatChart


@dataclass(frozen=True)
class Ink:
    """Colours of a theme: text, helping lines, the one accent, and a palette.

    The palettes are Okabe and Ito's, distinguishable with colour blindness, made darker or lighter where the
    background needs it.
    """

    text: str
    rule: str
    grid: str
    accent: str
    muted: str
    ground: str
    palette: tuple[str, ...]


LIGHT = Ink(
    "#4a5866", "#8a97a6", "#e4e9ef", "#0b62a8", "#66727f", "#ffffff",
    ("#0072b2", "#d55e00", "#007a5a", "#b0508a", "#a87400", "#3a8fc4", "#66727f"),
)  # fmt: skip
DARK = Ink(
    "#b3c0cd", "#67768a", "#26303b", "#5ab0f2", "#9aa8b6", "#12171e",
    ("#56b4e9", "#f58b4c", "#3cc79b", "#e0a0c8", "#e6b84a", "#9cd3f5", "#a8b4c0"),
)  # fmt: skip
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
BANDED = 3  # fewest runs whose interval is drawn as a band: two have one that hides everything
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [10, 3], [3, 5])


def ink() -> Ink:
    """Colours of the reader's theme."""
    return DARK if st.context.theme.type == "dark" else LIGHT


def show(drawn: Chart, *, sentence: str, alt_text: str = "", height: int | None = None) -> None:
    """A chart with the sentence that describes it."""
    pen = ink()
    if height is not None:
        drawn = drawn.properties(height=height)
    drawn = (
        drawn.configure(background="transparent", font=FONT, padding={"left": 2, "right": 12, "top": 6, "bottom": 4})
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12, titleFontSize=12, titleFontWeight="normal", labelLimit=340, labelColor=pen.text,
            titleColor=pen.text, gridColor=pen.grid, domainColor=pen.rule, tickColor=pen.rule, titlePadding=8,
        )
        .configure_legend(
            labelFontSize=12, titleFontSize=12, labelLimit=420, labelColor=pen.text, titleColor=pen.text,
            orient="top", symbolSize=90, symbolOpacity=1, titleFontWeight="normal",
        )
        .configure_header(labelColor=pen.text, titleColor=pen.text, labelFontSize=12)
    )  # fmt: skip
    st.altair_chart(drawn, alt=alt_text or sentence, width="stretch", theme=None)
    widgets.caption(sentence)


def domain(values: pd.Series) -> alt.Scale:
    """A scale around these numbers; marks beyond it have to be clipped."""
    low, high = float(values.min()), float(values.max())
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return alt.Scale(domain=[low - room, high + room], nice=True)


def legend(labels: Sequence[str]) -> alt.Legend:
    """A legend with its labels beside each other where a phone has room for them, else below each other."""
    return alt.Legend(orient="top", columns=1 if _rows(labels) > 1 else len(labels))


def _rows(labels: Sequence[str]) -> int:
    return len(labels) if sum(len(label) + 4 for label in labels) > 44 else 1


def zero() -> alt.Chart:
    """The line of no difference."""
    drawn: alt.Chart = (
        alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(strokeDash=[4, 4], color=ink().rule).encode(x="x:Q")
    )
    return drawn


def series(field: str, values: Sequence[str], title: str | None = None) -> tuple[alt.Color, alt.Shape, alt.StrokeDash]:
    """Colour, shape and dashes of the same groups, in this order; one legend."""
    known = list(dict.fromkeys(values))
    palette = ink().palette
    scales: tuple[Sequence[Any], ...] = (palette, SHAPES, DASHES)
    ranges = [[scale[i % len(scale)] for i in range(len(known))] for scale in scales]
    key = legend(known)
    return (
        alt.Color(f"{field}:N", title=title, legend=key, scale=alt.Scale(domain=known, range=ranges[0])),
        alt.Shape(f"{field}:N", title=title, legend=key, scale=alt.Scale(domain=known, range=ranges[1])),
        alt.StrokeDash(f"{field}:N", title=title, legend=key, scale=alt.Scale(domain=known, range=ranges[2])),
    )


@dataclass(frozen=True)
class Reading:
    """One line of an interval plot: a mean with its interval (None: there is none) and its outcome in words."""

    label: str
    mean: float
    low: float | None
    high: float | None
    outcome: str
    more: str = ""


Kind = Literal["good", "bad", "accent", "plain"]


def intervals(readings: Sequence[Reading], *, axis: str, kinds: Mapping[str, Kind], sentence: str) -> None:
    """Means with intervals, one below the other against zero; `kinds` gives the style of each `outcome`."""
    pen = ink()
    frame = pd.DataFrame([vars(one) for one in readings])
    looks = {
        "good": (pen.palette[2], "triangle-up"),
        "bad": (pen.palette[1], "diamond"),
        "accent": (pen.accent, "diamond"),
        "plain": (pen.muted, "circle"),
    }
    used = [outcome for outcome in kinds if outcome in set(frame["outcome"])]
    colour = alt.Color(
        "outcome:N", title=None, legend=legend(used) if len(used) > 1 else None,
        scale=alt.Scale(domain=used, range=[looks[kinds[outcome]][0] for outcome in used]),
    )  # fmt: skip
    shape = alt.Shape(
        "outcome:N", title=None, scale=alt.Scale(domain=used, range=[looks[kinds[outcome]][1] for outcome in used])
    )
    place = alt.Y("label:N", title=None, sort=list(frame["label"]), axis=None)  # names stand above the lines: phones
    base = alt.Chart(frame)
    across = alt.X("low:Q", title=axis, axis=alt.Axis(tickCount=7))
    drawn = (
        zero()
        + base.mark_text(align="left", dy=-13, fontSize=12, color=pen.text).encode(
            x=alt.value(0), y=place, text="label:N"
        )
        + base.mark_rule(strokeWidth=2).encode(x=across, x2="high:Q", y=place, color=colour)
        + base.mark_point(filled=True, size=110, opacity=1).encode(
            x=alt.X("mean:Q", title=axis, axis=alt.Axis(tickCount=7)), y=place, color=colour, shape=shape,
            tooltip=[
                alt.Tooltip("label:N", title="row"), alt.Tooltip("mean:Q", title="mean", format=".4g"),
                alt.Tooltip("low:Q", title="from", format=".4g"), alt.Tooltip("high:Q", title="to", format=".4g"),
                alt.Tooltip("more:N", title="seeds"),
            ],
        )
    )  # fmt: skip
    show(drawn, sentence=sentence, height=76 + 38 * frame["label"].nunique() + 18 * _rows(used))


def renamed(one: Reading, label: str) -> Reading:
    """The same under another label: two of one label would share a line."""
    return replace(one, label=label)
