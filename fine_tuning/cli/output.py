"""How commands answer: results on standard output, progress and remarks on standard error."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from fine_tuning.core.ports import Progress as ProgressCallback

GIB = 1024**3
MIB = 1024**2
results = Console()
remarks = Console(stderr=True)


def say(text: str) -> None:
    """Write a remark."""
    remarks.print(text, markup=False, highlight=False, soft_wrap=True)


def command() -> str:
    """Return how the user called this command: its name when it is on the path, else its place."""
    name = Path(sys.argv[0]).name
    return name if shutil.which(name) else sys.argv[0]


def answer(value: object, *, as_json: bool, text: str = "", table: Table | None = None) -> None:
    """Write a result: as JSON, or as text and a table for people."""
    if as_json:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        return
    if table is not None:
        results.print(table)
    if text:
        results.print(text, markup=False, highlight=False)


def facts(title: str, rows: Mapping[str, object]) -> Table:
    """Return a two-column table."""
    grid = Table(title=title, show_header=False, title_justify="left")
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    for name, value in rows.items():
        grid.add_row(name, escape(str(value)))
    return grid


@contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """Yield a progress callback that draws a bar per kind of work on standard error.

    Without a terminal nothing is drawn.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=remarks, transient=True, disable=not remarks.is_terminal
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield tell
