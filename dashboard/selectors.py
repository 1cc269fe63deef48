"""Selectors that several pages share: benchmark, group, seed, score; every choice stands in the URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import run_queries
from dashboard.glossary import WORDS
from dashboard.run_queries import Group
from harness.storage.queries import Run, ScoreName

Place = DeltaGenerator | None


def benchmark(found: Sequence[Group], place: Place = None) -> list[Group]:
    """Choose a benchmark and return its groups; no selector is shown where there is only one."""
    titles = run_queries.short_titles(found)
    if len(titles) == 1:
        return list(found)
    place = place or st.columns(2)[0]
    chosen = place.selectbox("Benchmark", list(titles), key="benchmark", bind="query-params")
    return [group for group in found if group.benchmark == titles[chosen]]


def group(found: Sequence[Group], place: Place = None, *, first: int = 0) -> Group:
    """Choose one group of a benchmark."""
    named = {one.label: one for one in found}
    chosen = (place or st).selectbox("Group", list(named), index=first, key="group", bind="query-params")
    return named[chosen]


def several(found: Sequence[Group], default: Sequence[str], most: int, hint: str, key: str) -> list[Group]:
    """Choose some groups of a benchmark; in the order in which they were chosen."""
    named = {one.label: one for one in found}
    chosen = st.multiselect(
        "Groups", list(named), default=list(default), key=key, bind="query-params", max_selections=most, help=hint
    )
    return [named[label] for label in chosen]


def seed(runs: Mapping[str, Run], place: Place = None) -> str:
    """Choose one of the seeds."""
    chosen: str = (place or st).selectbox("Seed", list(runs), key="seed", bind="query-params", help=WORDS["seed"])
    return chosen


def score(found: Sequence[ScoreName], place: Place = None, label: str = "Score") -> ScoreName:
    """Choose one score, by its short name where that is unambiguous."""
    short = [one.metric for one in found]
    named = {one.metric if short.count(one.metric) == 1 else one.name: one for one in found}
    return named[(place or st).selectbox(label, list(named), key="score", bind="query-params")]
