"""Comparisons as one table for a terminal: every suite and metric, every reference."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from fine_tuning.evaluation.comparison import ComparedMetric, Comparison


def table(comparisons: Sequence[Comparison]) -> Table:
    """Return one candidate's comparisons as a table; green is better, red is worse.

    Args:
        comparisons: Of one candidate, by suite and reference. Those with the first reference fill
            the whole row, each further reference adds its value and the difference from it.
    """
    references = list(dict.fromkeys(found.reference for found in comparisons))
    first, *others = references
    candidate = comparisons[0].candidate
    grid = Table(title=f"{candidate} against {', '.join(references)}")
    grid.caption = (
        f"difference: with its {comparisons[0].confidence:.0%} interval; p: after Holm's "
        f"correction; visible from: a true difference this set shows with "
        f"{comparisons[0].power:.0%} power"
    )
    grid.add_column("suite", no_wrap=True)
    grid.add_column("metric", no_wrap=True)
    for heading in (first, candidate):
        grid.add_column(heading, justify="right", overflow="fold")
    for heading in ("difference", "p", "win/tie/loss", "visible from"):
        grid.add_column(heading, justify="right")
    for name in others:
        grid.add_column(name, justify="right", overflow="fold")
        grid.add_column(f"from {name}", justify="right")
    by_place = {(c.reference, c.suite, row.name): row for c in comparisons for row in c.rows}
    for found in (found for found in comparisons if found.reference == first):
        for index, row in enumerate(found.rows):
            suite = found.suite if index == 0 else ""
            further = [by_place.get((name, found.suite, row.name)) for name in others]
            cells = [cell for other in further for cell in _further_cells(other)]
            grid.add_row(suite, *_cells(row), *cells, style=_style(row))
        grid.add_section()
    return grid


def _cells(row: ComparedMetric) -> list[str]:
    detectable = row.smallest_detectable
    return [
        row.name,
        f"{row.reference:.4g}",
        f"{row.candidate:.4g}",
        _interval_text(row),
        "-" if row.p_holm is None else f"{row.p_holm:.3g}",
        f"{row.wins}/{row.ties}/{row.losses}",
        "-" if detectable is None else f"{detectable:.3g}",
    ]


def _further_cells(row: ComparedMetric | None) -> list[str]:
    return ["-", "-"] if row is None else [f"{row.reference:.4g}", _interval_text(row)]


def _interval_text(row: ComparedMetric) -> str:
    if row.low is None or row.high is None:
        return f"{row.difference:+.3g}"
    return f"{row.difference:+.3g} ({row.low:+.3g} to {row.high:+.3g})"


def _style(row: ComparedMetric) -> str:
    interval = row.gain_interval
    if interval is None or row.higher_is_better is None:
        return ""
    if interval[0] > 0:
        return "green"
    return "red" if interval[1] < 0 else ""
