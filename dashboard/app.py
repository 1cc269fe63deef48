"""The frame around every page: navigation, the choice of a grid, and advice where the store is empty."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import run_queries, widgets
from dashboard.glossary import WORDS
from harness.errors import HarnessError
from harness.storage.url import printable_url
from harness.system.printable import printable

PAGES = Path(__file__).parent / "app_pages"
SECTIONS = {
    "Results": (
        ("overview", "Overview", ":material/dashboard:"),
        ("leaderboard", "Leaderboard", ":material/leaderboard:"),
        ("compare", "Compare", ":material/compare_arrows:"),
        ("ablations", "Ablations", ":material/grid_on:"),
    ),
    "Texts": (
        ("samples", "Samples", ":material/article:"),
        ("replay", "Replay", ":material/undo:"),
        ("exact_lab", "Exact lab", ":material/science:"),
    ),
    "Runs": (
        ("cost", "Cost", ":material/timer:"),
        ("run", "Run", ":material/description:"),
        ("grid", "Grid", ":material/view_module:"),
    ),
}


def main() -> None:
    """Draw the page that the URL names."""
    st.set_page_config(page_title="sequencematch-harness", page_icon=PAGES.parent / "icon.svg", layout="wide")
    widgets.style()
    page = st.navigation(
        {
            section: [
                st.Page(PAGES / f"{name}.py", title=title, icon=icon, default=name == "overview")
                for name, title, icon in pages
            ]
            for section, pages in SECTIONS.items()
        }
    )
    try:
        choose_grid()
    except HarnessError as error:
        widgets.page(page.title, "There is nothing to show yet.")
        widgets.notice(str(error), "bad")
        return
    try:
        page.run()
    except HarnessError as error:
        widgets.notice(str(error), "bad")


def choose_grid() -> None:
    """Choose the grid of every page: the URL's, and the newest one where the URL names none."""
    names = {printable(name): name for name in run_queries.grids()}
    options = [*names, run_queries.EVERYTHING]
    asked = st.query_params.get("grid", "")
    if "grid" not in st.session_state and "grid" not in st.query_params:
        st.session_state["grid"] = st.query_params["grid"] = options[
            0
        ]  # a copied address means this grid, also when there is a newer one
    with st.sidebar:
        shown = st.selectbox("Grid", options, index=None, key="grid", bind="query-params", help=WORDS["grid"])
        with st.expander("What the words mean"):
            widgets.words(WORDS)
        st.html(
            f'<p class="label">Store</p><p class="says">{widgets.escaped(printable_url(run_queries.store_url()))}</p>'
        )
    st.session_state["chosen_grid"] = names.get(shown or options[0])
    if asked not in options and (archived := run_queries.archived(asked)):
        widgets.notice(f"{archived} This page shows {shown or options[0]} instead.")


main()
