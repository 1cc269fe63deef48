"""How pages look: escaped text, tables, charts with a sentence below, downloads.

Whatever came out of a model or a name that somebody chose passes `escaped` on its way to HTML and never goes through
Markdown; what is left of it is text, whatever it tries to be.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import altair as alt
import pandas as pd
import streamlit as st

from harness.printable import printable

# Okabe and Ito's palette, told apart by people who do not see all colours; a shape goes with each
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
STYLE = (Path(__file__).parent / "style.css").read_text()

_INK = {"labelFontSize": 12, "titleFontSize": 12, "labelLimit": 360}

Kind = Literal["note", "good", "bad"]


def escaped(value: Any) -> str:
    """Any value as text inside HTML, with control and direction characters made visible."""
    return html.escape("\n".join(map(printable, str(value).split("\n"))), quote=True)


def heading(text: str) -> None:
    """A second-level heading whose words come from the store."""
    st.html(f"<h2>{escaped(text)}</h2>")


def style() -> None:
    """The style sheet of everything below; once a page."""
    st.html(f"<style>{STYLE}</style>")


def notice(text: str, kind: Kind = "note") -> None:
    """A sentence that stands out."""
    role = "alert" if kind == "bad" else "status"
    st.html(f'<p class="notice {kind}" role="{role}">{escaped(text)}</p>')


def says(text: str) -> None:
    """The sentence under a chart or table that says what it shows."""
    st.html(f'<p class="says">{escaped(text)}</p>')


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its text, a small second line, a class of the style sheet, a sentence on hovering."""

    text: str
    small: str = ""
    css: str = ""
    hint: str = ""


def table(
    heads: Sequence[Cell | str],
    rows: Sequence[Sequence[Cell | str]],
    *,
    caption: str,
    pinned: int = 0,
    numbers: int = 0,
) -> None:
    """An HTML table; the last `pinned` rows stand under a rule, columns from `numbers` on are right-aligned."""

    def cell(given: Cell | str, i: int, tag: str) -> str:
        one = given if isinstance(given, Cell) else Cell(given)
        css = f"{one.css} number" if i >= numbers else one.css
        scope = ' scope="col"' if tag == "th" else ""
        small = f"<small>{escaped(one.small)}</small>" if one.small else ""
        hint = f' title="{escaped(one.hint)}"' if one.hint else ""
        return f'<{tag}{scope}{hint} class="{escaped(css)}">{escaped(one.text)}{small}</{tag}>'

    head = "".join(cell(one, i, "th") for i, one in enumerate(heads))
    body = []
    for place, row in enumerate(rows):
        css = ' class="pinned"' if place >= len(rows) - pinned else ""
        body.append(f"<tr{css}>" + "".join(cell(one, i, "td") for i, one in enumerate(row)) + "</tr>")
    st.html(
        f'<div class="wide" tabindex="0" role="region" aria-label="{escaped(caption)}"><table>'
        f"<caption>{escaped(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def chart(
    drawn: alt.Chart | alt.LayerChart | alt.FacetChart | alt.HConcatChart, *, alt_text: str, sentence: str
) -> None:
    """A chart with its sentence; its menu saves it as SVG or PNG."""
    st.altair_chart(drawn.configure_axis(**_INK).configure_legend(**_INK), alt=alt_text, width="stretch")
    says(sentence)


def series(field: str, title: str, values: Sequence[str]) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape of the same groups, in this order."""
    known = list(dict.fromkeys(values))
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(known))]
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(known))]
    return (
        alt.Color(f"{field}:N", title=title, scale=alt.Scale(domain=known, range=colours)),
        alt.Shape(f"{field}:N", title=title, scale=alt.Scale(domain=known, range=shapes)),
    )


def downloads(frame: pd.DataFrame, name: str, **others: tuple[str, str]) -> None:
    """Buttons that save a table as CSV, and `label=(content, file name)` as it is."""
    buttons = {"CSV": (frame.to_csv(index=False), f"{name}.csv"), **others}
    with st.container(horizontal=True):
        for label, (content, file) in buttons.items():
            st.download_button(label, content, file_name=file, key=f"save-{name}-{label}", on_click="ignore",
                               icon=":material/download:")  # fmt: skip


@dataclass(frozen=True)
class Span:
    """A piece of generated text and the class of the style sheet that it is shown with."""

    text: str
    css: str = ""


def text(spans: Sequence[Span], *, label: str, live: bool = False) -> None:
    """Generated text, piece by piece, whatever is in it; `live` tells a screen reader when it changes."""
    inner = "".join(
        f'<{tag} class="{escaped(span.css)}">{escaped(span.text)}</{tag}>'
        for span in spans
        for tag in ("del" if "deleted" in span.css else "span",)
    )
    polite = ' aria-live="polite"' if live else ""
    st.html(f'<p class="label">{escaped(label)}</p><div class="text"{polite}>{inner}</div>')


def percent(log_prob: float) -> str:
    """A log-probability as a share that a person can read."""
    share = math.exp(log_prob)
    return f"{share:.1%}" if share >= 0.0005 else f"{share:.1e}"
