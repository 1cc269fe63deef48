"""Texts of the runs, prompt by prompt, side by side with the expert's."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard import run_queries, selectors, widgets
from dashboard.run_queries import Group
from harness.analysis.samples import ORDERS, Sample, Written

GRID = run_queries.chosen_grid()
MOST = 4  # groups side by side
PAGE = 10  # prompts at once
STOPS = {"ended": "ended by itself", "depth": "cut at the longest length", "budget": "cut at the most actions"}

widgets.page("Samples", "Texts of the models, prompt by prompt, beside the expert's.")


def page() -> None:
    """Choose groups, a seed and an order, then read."""
    here = run_queries.groups(GRID)
    if not here:
        widgets.notice("There are no finished runs here yet, so nothing was written.")
        return
    short = {title: name for name, title in run_queries.short_titles(here).items()}
    here = selectors.benchmark(here)
    chosen = selectors.several(here, telling(here), MOST, "Their texts stand side by side.", "samples")
    if not chosen:
        widgets.notice("Choose a group to read its texts.")
        return
    seeds = {seed: run for group in reversed(chosen) for seed, run in group.runs.items()}
    order = st.segmented_control(
        "First come", list(ORDERS), default="prompts", key="order", bind="query-params", required=True,
        format_func=lambda name: name.replace("-", " "),
    )  # fmt: skip
    left, right, _ = st.columns([1, 1, 2])
    seed = selectors.seed(dict(sorted(seeds.items(), key=lambda one: (len(one[0]), one[0]))), left)
    runs = {group.label: group.runs[seed].run_id for group in chosen if seed in group.runs}
    found = run_queries.samples(tuple(runs.values()), order or "prompts")
    pages = max(1, -(-len(found) // PAGE))
    place = right.number_input("Page", 1, pages, key="page", bind="query-params", help=f"of {pages}")
    texts(found[(int(place) - 1) * PAGE : int(place) * PAGE], runs, short[chosen[0].benchmark], seed)
    widgets.caption(f"{len(found):,} prompts; page {int(place)} of {pages}.")
    widgets.downloads(
        lambda: pd.DataFrame(
            {"prompt": one.prompt, "expert": one.reference}
            | {label: text.text for label, run in runs.items() if (text := one.written[run]) is not None}
            for one in found
        ),
        f"samples-seed-{seed}",
    )


def texts(found: Sequence[Sample], runs: dict[str, str], benchmark: str, seed: str) -> None:
    """One row per prompt."""
    prompted = any(sample.prompt for sample in found)
    rows = [
        [
            *([widgets.Cell(sample.prompt, css="texts")] if prompted else []),
            widgets.Cell(sample.reference, css="texts"),
            *(_text(sample.written[run], benchmark, label, seed) for label, run in runs.items()),
        ]
        for sample in found
    ]
    widgets.table(
        [*(["prompt"] if prompted else []), "expert", *runs],
        rows,
        caption="Texts of each group after the same prompt"
        if prompted
        else "Texts of each group from the empty prompt",
        sticky=False,
    )


def _text(written: Written | None, benchmark: str, label: str, seed: str) -> widgets.Cell:
    if written is None:
        return widgets.Cell("–", "was not asked", css="texts")
    tokens = f"{written.tokens} token" + ("" if written.tokens == 1 else "s")
    deleted = f"{written.backspaces} deleted, " if written.backspaces else ""
    note = f"{tokens}, {deleted}{STOPS.get(written.stop, written.stop)}"
    link = widgets.link(
        "replay", grid=run_queries.grid_label(), benchmark=benchmark, group=label, seed=seed, sample=written.sample
    )
    return widgets.Cell(written.text or "(nothing)", note, css="texts", link=("Replay", link))


def telling(here: Sequence[Group]) -> list[str]:
    """The first group that deletes and the first that does not, where both are."""
    compared = [group for group in here if not group.is_control] or list(here)
    back = [group for group in compared if group.config.get("actions.backspace")]
    plain = [group for group in compared if not group.config.get("actions.backspace")]
    return [group.label for group in (*plain[:1], *back[:1])]


page()
