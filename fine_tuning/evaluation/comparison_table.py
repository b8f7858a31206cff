"""Comparisons as one table for a terminal: every suite and metric, every reference."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from fine_tuning.evaluation.comparison import ComparedMetric, Comparison

VALUE_WIDTH = 7


def table(comparisons: Sequence[Comparison]) -> Table:
    """Return one candidate's comparisons as a table; green is better, red is worse.

    Args:
        comparisons: Of one candidate, by suite and reference. Those with the first reference fill
            the whole row, each further reference adds its value and the difference from it.
    """
    references = list(dict.fromkeys(found.reference for found in comparisons))
    first, *others = references
    candidate = comparisons[0].candidate
    grid = Table(
        title=f"{candidate} against {', '.join(references)}", box=SIMPLE_HEAD, padding=(0, 0, 0, 1)
    )
    grid.caption = (
        f"in brackets: the {comparisons[0].confidence:.0%} confidence interval; "
        "p: after Holm's correction; "
        "w/t/l: items won, tied and lost; "
        f"MDE: minimum detectable effect, with {comparisons[0].power:.0%} power"
    )
    grid.add_column("metric", no_wrap=True)
    for heading in (first, candidate):
        grid.add_column(heading, justify="right", overflow="fold", min_width=VALUE_WIDTH)
    for heading in ("difference", "p", "w/t/l", "MDE"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for name in others:
        grid.add_column(name, justify="right", overflow="fold", min_width=VALUE_WIDTH)
        grid.add_column(f"from {name}", justify="right", no_wrap=True)
    by_place = {(c.reference, c.suite, row.name): row for c in comparisons for row in c.rows}
    for found in (found for found in comparisons if found.reference == first):
        grid.add_row(f"[bold]{found.suite}[/bold]")
        for row in found.rows:
            further = [by_place.get((name, found.suite, row.name)) for name in others]
            cells = [cell for other in further for cell in _further_cells(other)]
            grid.add_row(*_cells(row), *cells, style=_style(row))
    return grid


def _cells(row: ComparedMetric) -> list[str]:
    detectable = row.smallest_detectable
    return [
        f"  {row.name}",
        f"{row.reference:.3g}",
        f"{row.candidate:.3g}",
        _interval_text(row),
        "-" if row.p_holm is None else f"{row.p_holm:.2g}",
        f"{row.wins}/{row.ties}/{row.losses}",
        "-" if detectable is None else f"{detectable:.2g}",
    ]


def _further_cells(row: ComparedMetric | None) -> list[str]:
    return ["-", "-"] if row is None else [f"{row.reference:.3g}", _interval_text(row)]


def _interval_text(row: ComparedMetric) -> str:
    if row.low is None or row.high is None:
        return f"{row.difference:+.3g}"
    return escape(f"{row.difference:+.3g} [{row.low:+.2g}, {row.high:+.2g}]")


def _style(row: ComparedMetric) -> str:
    interval = row.gain_interval
    if interval is None or row.higher_is_better is None:
        return ""
    if interval[0] > 0:
        return "green"
    return "red" if interval[1] < 0 else ""
