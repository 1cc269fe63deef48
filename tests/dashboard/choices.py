"""Every choice of every widget of a page, opened in a dashboard without a browser, as one reader after another does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from stores import APP, SECONDS, Reader
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import HeadingBase, UnknownElement, Widget

FRAME = ("Grid 1", "Benchmark 1")  # each of their choices has the choices of all other widgets below it
LISTS = ("selectbox", "button_group", "radio", "select_slider")
RANGES = ("number_input", "slider")
KINDS = (*LISTS, "multiselect", *RANGES, "toggle", "checkbox", "text_input", "button")
FILTERS = ("trainer=nobody", "=", "trainer=mle", "")  # typed into a text field, which has no list of choices
FEW = 6  # numbers of a slider or a number field; the first, the middle and the last are among them
LOWEST = 4  # the level of an expander, below every heading
PYTHON = re.compile(r"(?<!\w)(nan|NaN|NaT|<NA>|None(?! of ))(?!\w)")
GENERATED = re.compile(
    r'(?<=<td class="texts">).*?(?=</td>)|<div class="text.*?</div>|<code.*?</code>|“[^”]*”', re.DOTALL
)

Choice = tuple[str, Any]
"""A widget's name on its page, which is its label and its number among those of that label, and a value."""


def values(widget: Any) -> list[Any]:
    """The values that a reader can give a widget; of a text or a long range some."""
    if widget.type in LISTS:
        return list(widget.options)
    if widget.type == "multiselect":
        most = widget.proto.max_selections or len(widget.options)
        return [[], *([one] for one in widget.options), list(widget.options)[:most]]
    if widget.type in RANGES:
        low, high = int(widget.min), int(widget.max)
        return list(dict.fromkeys([*range(low, min(high, low + FEW - 3) + 1), (low + high) // 2, high]))
    return {"text_input": list(FILTERS), "button": [True]}.get(widget.type, [False, True])


def widgets(app: AppTest) -> dict[str, Any]:
    """Every widget of the sidebar and of the page that can be used, by its name."""
    found: dict[str, Any] = {}
    for widget in (one for part in (app.sidebar, app.main) for kind in KINDS for one in part.get(kind)):
        label = "Play" if widget.label == "Pause" else widget.label
        if not widget.proto.disabled:
            found[next(name for i in count(1) if (name := f"{label} {i}") not in found)] = widget
    return found


def choices(app: AppTest) -> list[Choice]:
    """Every choice of the page as it is now."""
    return [(name, value) for name, widget in widgets(app).items() for value in values(widget)]


def faults(app: AppTest) -> list[str]:
    """Everything that no page should show: an exception, a heading above nothing, a missing value's name in Python."""
    if app.exception:
        return [str(error.message or error.value) for error in app.exception]
    found = [f"{kind}: a widget that no test uses" for kind in sorted(_unused(app))]
    found += [f"{name}: no choice" for name, one in widgets(app).items() if one.type in LISTS and not one.options]
    above: dict[int, str] = {}
    for level, words in [*_parts(app), (1, "")]:
        found += [f"“{match[0]}” in: {words}" for match in PYTHON.finditer(words)]
        found += [f"{heading}: nothing below it" for place, heading in above.items() if 0 < level <= place]
        above = {place: one for place, one in above.items() if place < level} | ({level: words} if level else {})
    return found


def _parts(app: AppTest) -> Iterator[tuple[int, str]]:
    """The page from top to bottom: the level of each heading or 0, and its words; a page's lead belongs to its title.

    An expander's label is a heading.  Widgets ask and downloads save: neither says anything.  Of a generated text
    nothing is left but that it is there.
    """
    for one in app.main:
        if isinstance(one, HeadingBase):
            yield int(one.tag[1]), str(one.value)
        elif one.type == "expander":
            yield LOWEST, str(one.label)
        elif one.type == "html" and not one.proto.body.startswith('<p class="lead">'):
            read = Reader([GENERATED.sub("…", one.proto.body)])
            level = next((place for place in (2, 3) if one.proto.body.startswith(f"<h{place}>")), 0)
            yield from ((level, words) for words in ([" ".join(read.text)] if level else [*read.hints, *read.text]))
        elif one.type == "code":
            yield 0, str(one.value)


def _unused(app: AppTest) -> set[str]:
    """Kinds of widgets on the page whose choices `values` does not know; a download changes nothing."""
    found = {one.type for one in app.main if isinstance(one, Widget | UnknownElement) or _selects(one)}
    return found - {*KINDS, "download_button", "vega_lite_chart"}


def _selects(one: Any) -> bool:
    """A table or chart in which a reader may select something."""
    return bool(getattr(getattr(one, "proto", None), "selection_mode", None))


class Reading:
    """One page read choice by choice, each as the choices before it left the page.

    Attributes:
        opened: the choices that were opened, each below those of grid and benchmark that were made before it.
        failed: those with a fault, an exception in a download included, in words.
    """

    def __init__(self, page: str, monkeypatch: Any) -> None:
        self.page = page
        self.opened: list[str] = []
        self.failed: dict[str, str] = {}
        self._files: dict[str, Callable[[], bytes]] = {}
        self._saved: set[str] = set()
        self._known: dict[tuple[Choice, ...], list[Choice]] = {}
        add = MediaFileManager.add_deferred

        def noted(manager: Any, content: Any, *given: Any, **more: Any) -> str:
            self._files[str(more["file_name"])] = content
            return add(manager, content, *given, **more)

        monkeypatch.setattr(MediaFileManager, "add_deferred", noted)  # a click runs it, without a run of the page

    def read(self) -> Reading:
        """Under every benchmark each choice of each widget once; under a further grid those that are new there."""
        frames: list[tuple[Choice, ...]] = [()]
        for frame in frames:
            self._saved.clear()
            app = self._at(frame)
            depth = 1 + max((FRAME.index(name) for name, _ in frame), default=-1)
            frames += [(*frame, one) for one in choices(app) if one[0] in FRAME[depth:] and not _is_set(app, one)]
            app = self._under(frame, app)
            self._saved.clear()
            for one in [one for one in choices(app) if one[0] in FRAME]:  # below what was chosen last
                if one in choices(app) and not _is_set(app, one):
                    self._choose(app, (*frame, ("then", "the last choice of each"), one))
        return self

    def _under(self, frame: tuple[Choice, ...], app: AppTest) -> AppTest:
        """Every choice of the other widgets, and of those that a choice brings; the page as the last one leaves it."""
        above = tuple(one for one in frame if one[0] != FRAME[0])
        known = self._known.setdefault(above, [])
        todo: list[tuple[Choice, ...]] = [()]
        while todo:
            path = todo.pop(0)
            if path and path[-1] not in choices(app):
                app = self._at((*frame, *path[:-1]))
            if path and path[-1] in choices(app):
                self._choose(app, (*frame, *path))
                app = self._at((*frame, *path[:-1])) if app.exception else app  # so that it fails no other choice
            fresh = [one for one in choices(app) if one not in known and one[0] not in FRAME]
            known += fresh
            todo[:0] = [(*path, one) for one in fresh]
        return app

    def _at(self, path: tuple[Choice, ...]) -> AppTest:
        """The page in a new session after these choices, as far as they are there."""
        app = AppTest.from_file(APP, default_timeout=SECONDS).run()
        app.switch_page(f"app_pages/{self.page}.py")
        self._run(app, ())
        for place, one in enumerate(path, start=1):
            if one in choices(app) and not _is_set(app, one):
                self._choose(app, path[:place])
        return app

    def _choose(self, app: AppTest, path: tuple[Choice, ...]) -> None:
        name, value = path[-1]
        widgets(app)[name].set_value(value)
        self._run(app, path)

    def _run(self, app: AppTest, path: tuple[Choice, ...]) -> None:
        self._files.clear()
        app.run()
        choice = f"{self.page}: {' > '.join(f'{name} = {value}' for name, value in path) or 'as it opens'}"
        if choice not in self.opened:
            self.opened.append(choice)
        words = faults(app)
        for name in [] if words else sorted(self._files.keys() - self._saved):
            self._saved.add(name)
            try:
                self._files[name]()
            except Exception as error:  # whatever it is, there is no file
                words.append(f"{name}: {error!r}")
        if words:
            self.failed[choice] = "; ".join(words)


def _is_set(app: AppTest, one: Choice) -> bool:
    value: Any = widgets(app)[one[0]].value
    return bool(value == one[1])
