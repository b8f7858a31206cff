"""Counts, for each kind of real input, how many were tried and how many came out right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the report of a test say which kind of input it tried."""
    report = yield
    mark = item.get_closest_marker("real_input")
    if mark is not None:
        report.user_properties.append(("real_input", mark.args[0]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print kinds, tried, right."""
    tried: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            kind = dict(report.user_properties).get("real_input")
            if kind and (report.when == "call" or outcome == "error"):
                tried[kind] += 1
                right[kind] += outcome == "passed"
    if not tried:
        return
    terminalreporter.section("real inputs")
    for kind in sorted(tried):
        terminalreporter.write_line(f"{kind:40} tried {tried[kind]:4d}   right {right[kind]:4d}")
    terminalreporter.write_line(
        f"{'all kinds':40} tried {tried.total():4d}   right {right.total():4d}"
    )
