"""Start of the dashboard's server; imports the pages' libraries first, so that the first page waits for none."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from streamlit.web import cli

from dashboard.glossary import measures

NEEDED = (
    "altair",
    "harness.report.compare",
    "harness.analysis.effects",
    "harness.report.exports",
    "harness.analysis.samples",
)


def ready() -> None:
    """Import the libraries that pages need."""
    for name in NEEDED:
        import_module(name)
    measures()


def main() -> None:
    """Serve until Ctrl-C; arguments are those of `streamlit run`."""
    ready()
    sys.exit(cli.main(["run", str(Path(__file__).parent / "app.py"), *sys.argv[1:]]))


if __name__ == "__main__":
    main()
