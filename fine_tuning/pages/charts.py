"""Plots as SVG text for :mod:`fine_tuning.pages.page`: axes named, with units, and no more ink.

Drawn by matplotlib on a transparent ground in colours that read on light and dark paper alike.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT, GOOD, BAD, ACCENT = "#7d8896", "#9aa5b14d", "#2f9e6b", "#d1594d", "#3f88c5"
SERIES = (ACCENT, "#d08a2e", GOOD, "#9a6fb0", BAD)
WIDTH_IN = 7.2
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fine-tuning",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": SOFT,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval; ``is_good`` colours it, None leaves it plain."""

    label: str
    value: float
    low: float
    high: float
    is_good: bool | None = None


def intervals(rows: Sequence[Interval], *, x_label: str) -> str:
    """Draw values with their intervals around zero, the first row on top."""
    height_in = 0.6 + 0.34 * len(rows)
    with _drawing(height_in) as (axes, output):
        axes.axvline(0, color=INK, linewidth=1)
        for place, row in enumerate(reversed(rows)):
            color = INK if row.is_good is None else GOOD if row.is_good else BAD
            axes.plot([row.low, row.high], [place, place], color=color, linewidth=2)
            axes.plot([row.value], [place], "o", color=color, markersize=6)
        axes.set_yticks(range(len(rows)), [row.label for row in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(x_label)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(left=False)
    return output.getvalue()


def histogram(values: Sequence[float], *, x_label: str, y_label: str, bins: int = 30) -> str:
    """Draw how often values fall into bins of equal width."""
    with _drawing(2.6) as (axes, output):
        axes.hist(values, bins=bins, color=ACCENT, edgecolor="none", rwidth=0.92)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    return output.getvalue()


def bars(counts: Mapping[str, float], *, x_label: str) -> str:
    """Draw one bar a name, the first on top, each with its number."""
    with _drawing(0.6 + 0.3 * len(counts)) as (axes, output):
        names = list(counts)[::-1]
        drawn = axes.barh(names, [counts[name] for name in names], color=ACCENT, height=0.65)
        axes.bar_label(drawn, labels=[f"{counts[name]:,.6g}" for name in names], padding=4)
        axes.margins(x=0.12)
        axes.set_xlabel(x_label)
        axes.spines["left"].set_visible(False)
        axes.tick_params(left=False)
    return output.getvalue()


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str, y_label: str
) -> str:
    """Draw named series of points (x, y)."""
    with _drawing(3.0) as (axes, output):
        for color, (name, points) in zip(SERIES * len(series), series.items(), strict=False):
            marker = "o" if len(points) < 2 else None  # noqa: PLR2004 - a single point has no line
            xs, ys = zip(*points, strict=True) if points else ((), ())
            axes.plot(xs, ys, color=color, linewidth=1.8, marker=marker, label=name)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid()
        if len(series) > 1:
            axes.legend()
    return output.getvalue()


@contextmanager
def _drawing(height_in: float) -> Iterator[tuple[Axes, io.StringIO]]:
    """Yield axes to draw on; the SVG stands in the buffer when the body is done."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    output = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        yield figure.add_subplot(), output
        figure.savefig(output, format="svg", transparent=True, metadata={"Date": None})
    # The XML declaration has no place inside a page.
    text = output.getvalue()
    output.seek(0)
    output.truncate()
    output.write(text[text.index("<svg") :])
