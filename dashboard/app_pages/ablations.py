"""Effects of factors: the mean score for any two factors, and each factor's effect with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, run_queries, score_queries, selectors, widgets
from dashboard.glossary import WORDS, measure
from harness.analysis.effects import Effect, factors
from harness.analysis.filters import written
from harness.config.keys import short_keys
from harness.report.rendering import BETTER
from harness.stats.ranks import SEEDS_NEEDED
from harness.stats.simultaneous import leaves_out_zero
from harness.storage.queries import Run, ScoreName
from harness.system.printable import printable

GRID = run_queries.chosen_grid()
SHOWN = 40  # levels of all factors together

widgets.page("Ablations", "Effects of settings: scores by any two of them, and the mean effect of each.")


def page() -> None:
    """Choose a benchmark, a score and two factors."""
    here = run_queries.groups(GRID)
    if not here:
        widgets.notice("There are no finished runs here yet.")
        return
    *places, right = st.columns(2 if len(run_queries.short_titles(here)) > 1 else 1)
    members = [
        run for group in selectors.benchmark(here, *places) if not group.is_control for run in group.runs.values()
    ]  # fmt: skip
    found = score_queries.scores(GRID, members)
    names = factors(members)
    if not found or not names:
        widgets.notice("All runs of this benchmark have the same configuration, so there is nothing to compare.")
        return
    score = selectors.score(found, right)
    values = score_queries.values(GRID, score.name)
    short = dict(zip(map(printable, short_keys(names)), names, strict=True))
    if len(names) > 1:
        across, down = st.columns(2)
        first = across.selectbox("Across", list(short), key="across", bind="query-params")
        rest = [name for name in short if name != first]
        second = down.selectbox("Down", rest, key="down", bind="query-params")
        heat(score_queries.pivot(members, values, short[first], short[second]), score, first, second)
    effects(score_queries.effects(members, values), dict(zip(names, short, strict=True)), score, members)


def heat(frame: pd.DataFrame, score: ScoreName, first: str, second: str) -> None:
    """Mean over everything but two factors."""
    st.header("Two settings", anchor=False)
    if frame.empty:
        widgets.notice("No run has a number for this score under both settings.")
        return
    shown = frame.assign(across=frame["across"].map(printable), down=frame["down"].map(printable))
    low, high = float(frame["mean"].min()), float(frame["mean"].max())
    base = alt.Chart(shown).encode(
        x=alt.X("across:N", title=first, sort=None, axis=alt.Axis(labelAngle=0, orient="top", labelLimit=110)),
        y=alt.Y("down:N", title=second, sort=None, axis=alt.Axis(labelLimit=110)),
    )
    dark = alt.datum.mean < low + 0.6 * (high - low)
    drawn = base.mark_rect(cornerRadius=2, stroke=charts.ink().ground, strokeWidth=2).encode(
        color=alt.Color(
            "mean:Q", title=score.metric, scale=alt.Scale(scheme="cividis"), legend=alt.Legend(orient="right")
        ),
        tooltip=[
            alt.Tooltip("across:N", title="across"), alt.Tooltip("down:N", title="down"),
            alt.Tooltip("mean:Q", format=".4g"), alt.Tooltip("runs:Q"),
        ],
    ) + base.mark_text(fontSize=13).encode(
        text=alt.Text("mean:Q", format=".3g"),
        color=alt.condition(dark, alt.value("#ffffff"), alt.value("#111111")),
    )  # fmt: skip
    sentence = (
        f"Mean {score.metric} ({BETTER[score.direction]}) over all runs with both settings: from {low:.3g} to "
        f"{high:.3g}. An empty cell was not run."
    )
    charts.show(drawn, sentence=sentence, height=60 + 44 * frame["down"].nunique())
    widgets.downloads(frame, f"two-settings-{score.metric}")


def effects(found: Sequence[Effect], short: dict[str, str], score: ScoreName, members: Sequence[Run]) -> None:
    """Main effects with intervals."""
    st.header("Effect of each setting", anchor=False, help=WORDS["effect"])
    if not found:
        widgets.notice(
            "No setting was run at each of its levels under the same other settings, so no effect can be computed."
        )
        return
    outcomes = {"clear": "interval leaves out 0", "open": "interval holds 0"}
    few = min(one.effect.n for one in found)
    readings = []
    for one in found[:SHOWN]:
        clear = leaves_out_zero(one.effect)
        more = f"{one.effect.n}, over {one.settings} settings of the rest, p = {one.p:.2g}"
        readings.append(
            charts.Reading(
                f"{short[one.factor]} = {printable(written(one.level))}", one.effect.mean, one.effect.low,
                one.effect.high, outcomes["clear" if clear else "open"], more,
            )
        )  # fmt: skip
    clear_ones = [one.label for one in readings if one.outcome == outcomes["clear"]]
    meaning = measure(score.metric)
    sentence = (
        "Each level's distance from the mean over its setting's levels, over those combinations of the rest that were "
        f"run at all of them, with the simultaneous 95 % interval of all {len(found)} effects over seeds. "
        f"Intervals that leave out 0: {', '.join(clear_ones) or 'none'}."
        + (f" {few} seeds cannot separate anything: it takes {SEEDS_NEEDED}." if few < SEEDS_NEEDED else "")
        + (f" {score.metric}: {meaning}." if meaning else "")
    )
    unit = f" ({score.unit})" if score.unit else ""
    charts.intervals(
        readings,
        axis=f"effect on {score.metric}{unit}, {BETTER[score.direction]}",
        kinds={outcomes["clear"]: "accent", outcomes["open"]: "plain"},
        sentence=sentence,
    )
    rows = [
        (o.factor, written(o.level), o.effect.mean, o.effect.low, o.effect.high, o.effect.n, o.settings, o.p, o.family,
         o.single.low, o.single.high)
        for o in found
    ]  # fmt: skip
    columns = ["factor", "level", "effect", "low", "high", "seeds", "settings", "p", "family"]
    columns += ["single_low", "single_high"]
    widgets.downloads(lambda: pd.DataFrame(rows, columns=columns), f"effects-{score.metric}")


page()
