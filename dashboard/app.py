"""The frame around every page: navigation, which grid is shown, and what to do where there is nothing yet."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import look, queries
from harness.errors import HarnessError

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
    look.style()
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
        _choose_grid()
        page.run()
    except HarnessError as error:
        st.title(page.title)
        look.notice(str(error), "bad")


def _choose_grid() -> None:
    """The grid that every page is about; it stands in the URL."""
    names = queries.grids()
    with st.sidebar:
        st.selectbox(
            "Grid", names, index=None, key="grid", bind="query-params", placeholder="all runs",
            help="A grid is one question: a file of configurations that were run together.",
        )  # fmt: skip
        st.caption("Store")
        st.code(queries.store_url(), language=None, wrap_lines=True)


main()
