"""What the runs wrote, prompt by prompt, side by side with the expert's text."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard import look, queries
from harness.readings import Run
from harness.samples import ORDERS

st.title("Samples")
MOST = 4  # runs side by side
PAGE = 10  # prompts at once


def page() -> None:
    """Choose runs and an order, then read."""
    members = queries.finished(st.session_state.get("grid"))
    if not members:
        look.notice("There are no finished runs here yet, so nothing was written.")
        return
    names = queries.run_names(members)
    chosen = st.multiselect(
        "Runs", list(names), default=first_of_each_group(members)[:2], key="runs", bind="query-params",
        format_func=lambda run: f"{names.get(run, '?')} · {run}", max_selections=MOST,
    )  # fmt: skip
    left, right = st.columns([3, 1])
    order = left.segmented_control(
        "First come", list(ORDERS), default="prompts", key="order", bind="query-params", required=True,
        format_func=lambda name: name.replace("-", " "),
    )  # fmt: skip
    if not chosen:
        look.notice("Choose a run to read what it wrote.")
        return
    found = queries.samples(tuple(chosen), order or "prompts")
    pages = max(1, -(-len(found) // PAGE))
    place = right.number_input("Page", 1, pages, key="page", bind="query-params", help=f"of {pages}")
    for sample in found[(int(place) - 1) * PAGE : int(place) * PAGE]:
        with st.container(border=True):
            look.text([look.Span(sample.prompt or "(no prompt)", "prompt")], label="Prompt")
            columns = st.columns(1 + len(chosen))
            with columns[0]:
                look.text([look.Span(sample.reference)], label="Expert")
            for column, run in zip(columns[1:], chosen, strict=True):
                written = sample.written[run]
                with column:
                    if written is None:
                        look.text([look.Span("(was not asked)", "prompt")], label=names[run])
                        continue
                    look.text(
                        [look.Span(written.text or "(empty)", "" if written.text else "prompt")], label=names[run]
                    )
                    told = f"{written.tokens} tokens, {written.backspaces} deleted, {written.stop}"
                    look.says(f"{told}. Number {written.sample} on the Replay page.")
    look.downloads(
        pd.DataFrame(
            {"prompt": one.prompt, "expert": one.reference}
            | {run: None if (text := one.written[run]) is None else text.text for run in chosen}
            for one in found
        ),
        "samples",
    )


def first_of_each_group(members: Sequence[Run]) -> list[str]:
    """The first run of each group of the first benchmark that deletes, and of one that does not, where both are."""
    same = [run for run in members if run.data_hash == members[0].data_hash]
    by_group = {run.group_id: run for run in reversed(same)}
    return [run.run_id for run in sorted(by_group.values(), key=lambda run: bool(run.config.get("control")))]


page()
