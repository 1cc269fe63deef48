"""`make prove`: the order of its tests, those that have the machine for themselves, and the table at its end.

A test counts in a row of the table by `@pytest.mark.prove("row", cases=1, seconds=0, alone=False)`:

    row: what is proved, in a few words; tests with the same words share a row.
    cases: number of cases that the test goes through.
    seconds: its time on two quiet cores where it is long; the longest tests start first.
    alone: True if it measures time or starts more processes than there are cores: no other proof runs beside it.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from pathlib import Path

import pytest

BEGAN = time.monotonic()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest tests first, those that run alone last; a report carries its row and its cases to the table."""

    def place(item: pytest.Item) -> tuple[bool, float]:
        mark = item.get_closest_marker("prove")
        return (mark.kwargs.get("alone", False), -mark.kwargs.get("seconds", 0)) if mark else (False, 0)

    items.sort(key=place)
    for item in items:
        if mark := item.get_closest_marker("prove"):
            item.user_properties.append(("proof", (*mark.args, mark.kwargs.get("cases", 1))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Hold a lock while a proof runs, a shared one or, alone, an exclusive one; waiting counts in no test's time."""
    mark = item.get_closest_marker("prove")
    if mark is None:
        return (yield)
    import fcntl

    with Path(__file__).open("a") as lock:  # this file itself: any that all processes have will do
        fcntl.flock(lock, fcntl.LOCK_EX if mark.kwargs.get("alone") else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough where a child process has the file open, too


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Print the table below everything else, if proofs were among the tests."""
    yield
    stats = terminalreporter.stats.values()
    reports = [report for report in chain(*stats) if isinstance(report, pytest.TestReport)]
    if any(dict(report.user_properties).get("proof") for report in reports):
        for line in table(reports, time.monotonic() - BEGAN):
            terminalreporter.write_line(line)


def table(reports: Iterable[pytest.TestReport], seconds: float) -> Iterator[str]:
    """Lines of the table: a row for each proof with the cases of the tests that passed, and the totals.

    A test that ended with its process has no row of its own words: it stands under its name.
    """
    proofs: dict[str, list[pytest.TestReport]] = {}
    for report in sorted(reports, key=lambda report: report.nodeid):
        row, _ = dict(report.user_properties).get("proof", (report.nodeid, 0))
        if report.failed or row != report.nodeid:
            proofs.setdefault(row, []).append(report)
    rows, everything = [], 0
    for row, found in proofs.items():
        tests = {report.nodeid for report in found}
        failed = {report.nodeid for report in found if report.failed}
        skipped = {report.nodeid: str(report.longrepr[2]) for report in found if report.skipped}
        passed = [r for r in found if r.when == "call" and r.passed and r.nodeid not in failed]
        cases = sum(dict(report.user_properties)["proof"][1] for report in passed)
        reasons = "; ".join(sorted({reason.removeprefix("Skipped: ") for reason in skipped.values()}))
        words = [f"FAILED: {len(failed)} of {len(tests)}"] if failed else ["passed"] if passed else []
        words += [f"skipped: {reasons}"] if skipped else []
        rows.append((row, f"{cases:,}", ", ".join(words), f"{sum(report.duration for report in found):,.0f}"))
        everything += cases
    bad = sum("FAILED" in result for _, _, result, _ in rows)
    left_out = sum("skipped" in result for _, _, result, _ in rows)
    result = ", ".join([f"FAILED: {bad}"] * (bad > 0) + ["all passed"] * (bad + left_out == 0)) or "passed"
    result += f", skipped: {left_out}" * (left_out > 0)
    rows.append((f"all {len(rows)} proofs", f"{everything:,}", result, f"{seconds:,.0f}"))
    rows.insert(0, ("what", "cases", "result", "seconds"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    rule = "-" * (sum(widths) + 6)
    for number, (what, cases, outcome, took) in enumerate(rows):
        if number in (0, 1, len(rows) - 1):
            yield rule
        yield f"{what:<{widths[0]}}  {cases:>{widths[1]}}  {outcome:<{widths[2]}}  {took:>{widths[3]}}"
    yield rule
