"""Widgets of the pages beside charts: headings, notices, tables, downloads and generated text, all of it escaped.

Every text from a model, and every name that a user chose, passes `escaped` on its way to HTML and never goes through
Markdown, so that it is shown as text, with any markup in it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from harness.system.printable import printable

STYLE = (Path(__file__).parent / "style.css").read_text()

Kind = Literal["note", "good", "bad", "answer"]


def escaped(value: Any) -> str:
    """Any value as text inside HTML, with control and direction characters made visible."""
    return html.escape("\n".join(map(printable, str(value).split("\n"))), quote=True)


def style() -> None:
    """The style sheet of everything below; once a page."""
    st.html(f"<style>{STYLE}</style>")


# ------------------------------------------------------------------------------------------------------- words


def page(title: str, lead: str) -> None:
    """The page's title, and its question in one sentence."""
    st.title(title, anchor=False)
    st.html(f'<p class="lead">{escaped(lead)}</p>')


def heading(text: str, small: str = "", level: Literal[2, 3] = 2) -> None:
    """A heading whose words come from the store, with a second line."""
    below = f"<small>{escaped(small)}</small>" if small else ""
    st.html(f"<h{level}>{escaped(text)}{below}</h{level}>")


def notice(text: str, kind: Kind = "note") -> None:
    """A sentence that stands out."""
    role = "alert" if kind == "bad" else "status"
    st.html(f'<p class="notice {kind}" role="{role}">{escaped(text)}</p>')


def caption(text: str) -> None:
    """The sentence under a chart or table that describes it."""
    st.html(f'<p class="says">{escaped(text)}</p>')


def notes(lines: Sequence[str]) -> None:
    """Notes that qualify the numbers, one below the other."""
    if lines:
        st.html(f'<ul class="notes">{"".join(f"<li>{escaped(sentence(line))}</li>" for line in lines)}</ul>')


def sentence(text: str) -> str:
    """The text with a full stop; often it begins with a name, which has no capital letter."""
    return f"{text}{'' if text.endswith(('.', '!', '?')) else '.'}"


def words(meanings: Mapping[str, str]) -> None:
    """Words with their meanings."""
    inner = "".join(f"<dt>{escaped(word)}</dt><dd>{escaped(meaning)}</dd>" for word, meaning in meanings.items())
    st.html(f'<dl class="words">{inner}</dl>')


def tiles(shown: Sequence[tuple[str, str, str]]) -> None:
    """Numbers at a glance: (label, number, class of the style sheet) each."""
    inner = "".join(
        f'<div><dt class="{escaped(css)}">{escaped(label)}</dt><dd>{escaped(value)}</dd></div>'
        for label, value, css in shown
    )
    st.html(f'<dl class="tiles">{inner}</dl>')


# ------------------------------------------------------------------------------------------------------ tables


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: its first line.
        small: a second line.
        css: a class of the style sheet.
        hint: a sentence on hovering.
        span: low, mean and high between the column's ends 0 and 1: drawn as a small interval.
        share: share of a whole, in [0, 1]: drawn as a bar.
        link: words and address, below.
    """

    text: str
    small: str = ""
    css: str = ""
    hint: str = ""
    span: tuple[float, float, float] | None = None
    share: float | None = None
    link: tuple[str, str] | None = None


def table(
    heads: Sequence[Cell | str],
    rows: Sequence[Sequence[Cell | str]],
    *,
    caption: str,
    numbers: int = 99,
    pinned: int = 0,
    base: int | None = None,
    tall: bool = False,
    sticky: bool = True,
) -> None:
    """An HTML table that scrolls inside itself.

    Args:
        heads: one per column.
        rows: as many cells each.
        caption: its description in a sentence; also its name for a screen reader.
        numbers: columns from here on are right-aligned.
        pinned: number of rows at the end that stand under a rule.
        base: the row that others are compared with.
        tall: whether it also scrolls up and down, under its heads.
        sticky: whether the first column stays where it is.
    """
    keyed = " keyed" if base is not None else ""
    head = "".join(_cell(one, "th", i >= numbers, keyed) for i, one in enumerate(heads))
    body = []
    for place, row in enumerate(rows):
        names = [*(["pinned"] if place >= len(rows) - pinned else []), *(["base"] if place == base else [])]
        css = f' class="{" ".join(names)}"' if names else ""
        body.append(
            f"<tr{css}>" + "".join(_cell(one, "td", i >= numbers, keyed) for i, one in enumerate(row)) + "</tr>"
        )
    name, css = escaped(caption), " ".join(["wide", *(["tall"] if tall else []), *(["keep"] if sticky else [])])
    st.html(
        f'<p class="caption">{name}</p><div class="{css}" tabindex="0" role="region" aria-label="{name}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell(given: Cell | str, tag: str, number: bool, keyed: str) -> str:
    one = given if isinstance(given, Cell) else Cell(given)
    scope = ' scope="col"' if tag == "th" else ""
    hint = f' title="{escaped(one.hint)}"' if one.hint else ""
    inner = f'<span class="{escaped(one.css)}"{hint}>{escaped(one.text)}</span>'
    if one.span is not None:
        low, mean, high = (f"{100 * min(1.0, max(0.0, part)):.1f}%" for part in one.span)
        inner += f'<span class="span" style="--low:{low};--mean:{mean};--high:{high}"><i></i><b></b></span>'
    if one.share is not None:
        part = f"{100 * min(1.0, max(0.0, one.share)):.1f}%"
        inner += f'<span class="share" style="--part:{part}"><i></i></span>'
    inner += f"<small>{escaped(one.small)}</small>" if one.small else ""
    if one.link is not None:
        words, address = one.link
        inner += f'<a href="{escaped(address)}" target="_self">{escaped(words)}</a>'
    whole = one.css if one.css in ("texts", "nowrap") else ""
    return f'<{tag}{scope} class="{"number " if number else ""}{whole}{keyed}">{inner}</{tag}>'


def downloads(frame: pd.DataFrame | Callable[[], pd.DataFrame], name: str) -> None:
    """A button that saves a table as CSV."""
    exports(name, CSV=(lambda: (frame() if callable(frame) else frame).to_csv(index=False), f"{name}.csv"))


def exports(name: str, **files: tuple[Callable[[], str], str]) -> None:
    """Buttons that save `label=(content, file name)`; the content is made when its button is clicked.

    Args:
        name: unique on the page: that of the table as well as of the score, where a page draws several tables.
        files: by the button's label.
    """

    def encoded(content: Callable[[], str]) -> Callable[[], bytes]:
        return lambda: content().encode("utf-8", "backslashreplace")  # a text may hold lone surrogates

    with st.container(horizontal=True, gap="small"):
        for label, (content, file) in files.items():
            st.download_button(
                f"Download {label}", encoded(content), file_name=file_name(file), key=f"save {name!a} {label}",
                on_click="ignore", icon=":material/download:", type="tertiary",
            )  # fmt: skip


def link(page: str, **chosen: object) -> str:
    """The address of another page with these choices; those that are None are left out."""
    return f"{page}?{urlencode({name: value for name, value in chosen.items() if value is not None})}"


def file_name(text: str) -> str:
    """A name that every file system takes, from any text."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "-" for sign in text)[-80:]


# --------------------------------------------------------------------------------------------- generated text


@dataclass(frozen=True)
class Span:
    """A piece of generated text and the class of the style sheet that it is shown with."""

    text: str
    css: str = ""


def text(spans: Sequence[Span], *, label: str, css: str = "text", live: bool = False) -> None:
    """Generated text, piece by piece; with `live` a screen reader announces its changes."""
    polite = ' aria-live="polite"' if live else ""
    st.html(f'<p class="label">{escaped(label)}</p><div class="text {css}"{polite}>{inline(spans)}</div>')


def stage(spans: Sequence[Span], *, label: str) -> None:
    """Generated text while it is written, large, with the meaning of its marks."""
    key = (
        '<span><del class="deleted">abc</del> deleted</span><span><b class="mark">⌫</b> deletes the token before</span>'
        '<span><b class="ending">■</b> ends the text</span>'
    )
    given = '<span><u class="given">abc</u> given, not chosen</span>' if any("given" in s.css for s in spans) else ""
    st.html(
        f'<p class="label">{escaped(label)}</p><div class="text stage" aria-live="polite">{inline(spans)}</div>'
        f'<p class="key" aria-hidden="true">{key}{given}</p>'
    )


def verdict(text: str) -> None:
    """The latest event, in a sentence."""
    st.html(f'<p class="verdict" role="status">{escaped(text)}</p>')


def track(marks: Sequence[str]) -> None:
    """A row of small marks, each a class of the style sheet."""
    st.html(
        f'<div class="track" aria-hidden="true">{"".join(f"<i class={escaped(mark)!r}></i>" for mark in marks)}</div>'
    )


def odds(choices: Sequence[tuple[str, float, bool]], *, label: str) -> None:
    """Actions with their probabilities and whether each was taken, as bars."""
    rows = "".join(
        f'<code class="{"chosen" if taken else ""}">{escaped(name)}</code>'
        f'<span class="share" style="--part:{100 * share:.1f}%"><i></i></span>'
        f'<span class="number">{escaped(percent(math.log(share)) if share > 0 else "0%")}{" ✓" if taken else ""}</span>'
        for name, share, taken in choices
    )
    st.html(f'<p class="label">{escaped(label)}</p><div class="odds">{rows}</div>')


def inline(spans: Sequence[Span]) -> str:
    """Pieces of generated text as HTML; deleted ones are marked as such for a screen reader, too."""
    return "".join(
        f'<{tag} class="{escaped(span.css)}">{escaped(span.text)}</{tag}>'
        for span in spans
        for tag in ("del" if "deleted" in span.css.split() else "span",)
    )


def percent(log_prob: float) -> str:
    """A log-probability as a percentage."""
    share = math.exp(log_prob)
    return f"{share:.1%}" if share >= 0.0005 else f"{share:.1e}"


def number(value: Any) -> str:
    """A number rounded for display; a dash where there is none."""
    if value is None or value != value:
        return "–" if value is None else "nan"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if 1e3 <= abs(value) < 1e15 else f"{value:.4g}"


def moment(iso: str | None) -> str:
    """A point in time without its fractions of a second.

    >>> moment("2026-11-22T09:05:50.123456+00:00")
    '2026-11-22 09:05:50'
    """
    return "–" if iso is None else iso[:19].replace("T", " ")


def duration(seconds: float) -> str:
    """Seconds in the two largest units that fit.

    >>> duration(8040)
    '2 h 14 min'
    """
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
