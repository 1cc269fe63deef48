"""One rollout as it was written: token by token, mistakes struck through when the model takes them back."""

from __future__ import annotations

import altair as alt
import streamlit as st

from dashboard import charts, player, run_queries, selectors, widgets
from dashboard.glossary import WORDS
from dashboard.run_queries import Rollouts

GRID = run_queries.chosen_grid()
FEW = 10  # actions at a position below which its share says nothing
PLACES = 40  # points of the chart; more are taken together

widgets.page(
    "Replay",
    "The model writes one token at a time. One of its actions is <backspace> ⌫: it deletes the last token, so that the "
    "model can take back a mistake and write something else.",
)


def page() -> None:
    """Choose a run and one of its texts, then watch."""
    here = run_queries.groups(GRID)
    if not here:
        widgets.notice("There are no finished runs here yet, so there is nothing to replay.")
        return
    places = st.columns([2, 4, 1, 2] if len(run_queries.short_titles(here)) > 1 else [4, 1, 2])
    here = selectors.benchmark(here, places[0])
    deletes = [bool(group.config.get("actions.backspace")) for group in here]
    group = selectors.group(here, places[-3], first=deletes.index(True) if any(deletes) else 0)
    seed = selectors.seed(group.runs, places[-2])
    rollouts = run_queries.rollouts(group.runs[seed].run_id)
    if not rollouts.rows:
        widgets.notice("This run has no texts.")
        return
    last = len(rollouts.rows) - 1
    if not 0 <= st.session_state.get("sample", 0) <= last:
        st.session_state["sample"] = last
    number = places[-1].number_input(
        "Text", 0, last, value=telling(rollouts), key="sample", bind="query-params",
        help=f"Which of {last + 1:,} texts, from 0. It starts at one that shows a deletion.",
    )  # fmt: skip
    frames = rollouts.frames(int(number))
    if not frames:
        widgets.notice("In this text nothing was done.")
    else:
        player.show(f"{group.runs[seed].run_id} {number}", rollouts.rows[int(number)]["prompt"], frames)
    others(rollouts, int(number))
    positions(rollouts)


def telling(rollouts: Rollouts) -> int:
    """The first text that deletes a little and has candidates; else one that deletes; else the first."""
    few = [i for i in range(len(rollouts.rows)) if 1 <= rollouts.deletions(i) <= 3]
    kept = [i for i in few if rollouts.rows[i]["candidates"]]
    return max(range(len(rollouts.rows)), key=rollouts.deletions) if not few else (kept or few)[0]


def others(rollouts: Rollouts, number: int) -> None:
    """Button to the next text with a deletion."""
    deleting = [i for i in range(len(rollouts.rows)) if rollouts.deletions(i)]
    after = [i for i in deleting if i > number] or deleting
    if not deleting or after == [number]:
        return

    def go() -> None:
        st.session_state["sample"] = after[0]

    st.button("Another text with a deletion", key="another", on_click=go, icon=":material/skip_next:")
    widgets.caption(f"{len(deleting):,} of {len(rollouts.rows):,} texts of this run delete something.")


def positions(rollouts: Rollouts) -> None:
    """Share of deletions by position in the rollout."""
    st.header("When does it delete?", anchor=False, help=WORDS["backspace"])
    frame = rollouts.by_position()
    if frame.empty or not frame["deletes"].any():
        widgets.notice("This run never deleted anything.")
        return
    width = max(1, -(-int(frame["position"].max()) // PLACES))
    by = frame.assign(position=(frame["position"] - 1) // width * width + 1).groupby("position", as_index=False).sum()
    by = by[by["actions"] >= FEW]
    by = by.assign(share=by["deletes"] / by["actions"])
    drawn = (
        alt.Chart(by)
        .mark_bar(color=charts.ink().accent, cornerRadiusEnd=2)
        .encode(
            x=alt.X("position:O", title="step of the text" + ("" if width == 1 else f" ({width} at a time)"),
                    axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("share:Q", title="share that deletes", axis=alt.Axis(format="%", tickCount=4)),
            tooltip=[alt.Tooltip("position:Q"), alt.Tooltip("share:Q", format=".2%"), alt.Tooltip("actions:Q")],
        )
    )  # fmt: skip
    share = frame["deletes"].sum() / frame["actions"].sum()
    charts.show(
        drawn,
        height=220,
        sentence=f"Over {len(rollouts.rows):,} texts, {share:.2%} of the model's own actions delete a token; "
        f"steps that fewer than {FEW} texts reach are left out.",
    )
    widgets.downloads(by, "backspace-by-position")


page()
