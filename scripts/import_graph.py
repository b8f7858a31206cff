"""The picture and the table of the packages, made from the imports in the code."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "fine_tuning"
# Of each row: its plain name, and its colour.
ROWS = (
    ("cli", "surfaces", "#dbeafe"),
    ("workbench", "composition", "#fde68a"),
    ("learning", "loops", "#e9d5ff"),
    ("training", "stages", "#d1fae5"),
    ("engine", "machinery", "#fee2e2"),
    ("storage", "libraries", "#e5e7eb"),
    ("core", "language", "#f3f4f6"),
)
WIDTH, ROW_HEIGHT, BOX_HEIGHT, MARGIN, NAME_WIDTH = 940, 112, 48, 16, 112
CHARACTER_WIDTH = 9.3
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" \
aria-label="The packages in rows; each imports only rows below it">
<!-- Made from the imports by `make docs`. -->
<style>{style}</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#6b7280;stroke:none;marker-end:none"/></marker>
</defs>
<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>"""
PADDING, GAP = 26, 16
STYLE = (
    "text{font-family:system-ui,sans-serif;font-size:16px;fill:#111827}"
    ".row{font-size:15px;fill:#4b5563}"
    "rect.box{stroke:#4b5563;stroke-width:1.2}"
    "path{fill:none;stroke:#6b7280;stroke-width:1.3;marker-end:url(#tip)}"
)


@dataclass(frozen=True)
class Packages:
    """The top packages: what each imports of the others, and of other projects.

    Attributes:
        rows: Names by row, the highest row first, as the contract in ``pyproject.toml`` lists them.
        imports: By package, the packages it imports.
        libraries: By package, the third-party distributions' import names it uses.
    """

    rows: tuple[tuple[str, ...], ...]
    imports: Mapping[str, frozenset[str]]
    libraries: Mapping[str, frozenset[str]]


@cache
def packages() -> Packages:
    """Read the imports of the whole package; nothing of it is executed."""
    graph = grimp.build_graph(PACKAGE, include_external_packages=True, cache_dir=None)
    names = {child.removeprefix(f"{PACKAGE}.") for child in graph.find_children(PACKAGE)}
    rows = tuple(row for row in _rows(names) if row)
    imports, libraries = {}, {}
    for name in (name for row in rows for name in row):
        whole = f"{PACKAGE}.{name}"
        targets = {
            target
            for module in {whole, *graph.find_descendants(whole)}
            for target in graph.find_modules_directly_imported_by(module)
        }
        ours = {t.split(".")[1] for t in targets if t.startswith(f"{PACKAGE}.")}
        imports[name] = frozenset(ours - {name})
        libraries[name] = frozenset(
            t for t in targets if t.split(".")[0] not in {PACKAGE, *sys.stdlib_module_names}
        )
    return Packages(rows, imports, libraries)


def _rows(names: Iterable[str]) -> Iterable[tuple[str, ...]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    known = set(names)
    for layer in layers:
        listed = (name.strip().strip("()") for name in layer.replace(":", "|").split("|"))
        yield tuple(name for name in listed if name in known)


def needed_edges(imports: Mapping[str, frozenset[str]]) -> list[tuple[str, str]]:
    """Return the imports that no chain of other imports stands for (transitive reduction)."""

    @cache
    def reach(name: str) -> frozenset[str]:
        direct = imports.get(name, frozenset())
        return direct.union(*(reach(target) for target in direct))

    return [
        (name, target)
        for name, targets in imports.items()
        for target in sorted(targets)
        if not any(target in reach(other) for other in targets - {target})
    ]


def picture() -> str:
    """Return the packages as an SVG image: a row each, arrows for imports."""
    house = packages()
    places = _places(house.rows)
    height = (len(house.rows) - 1) * ROW_HEIGHT + BOX_HEIGHT + 2 * MARGIN
    parts = [HEAD.format(width=WIDTH, height=height, style=STYLE)]
    parts += [_arrow(places[a], places[b]) for a, b in needed_edges(house.imports)]
    for number, row in enumerate(house.rows):
        title, colour = next((t, c) for key, t, c in ROWS if key in row)
        y = MARGIN + number * ROW_HEIGHT + BOX_HEIGHT / 2 + 5
        parts.append(f'<text class="row" x="{MARGIN}" y="{y:g}">{escape(title)}</text>')
        parts += [_box(name, places[name], colour) for name in row]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _places(rows: tuple[tuple[str, ...], ...]) -> dict[str, tuple[float, float, float]]:
    """Return left, top and width of each box; a row is centred."""
    places = {}
    for number, row in enumerate(rows):
        widths = [len(name) * CHARACTER_WIDTH + PADDING for name in row]
        room = WIDTH - NAME_WIDTH - MARGIN
        left = NAME_WIDTH + (room - sum(widths) - GAP * (len(row) - 1)) / 2
        for name, width in zip(row, widths, strict=True):
            places[name] = (round(left, 1), float(MARGIN + number * ROW_HEIGHT), round(width, 1))
            left += width + GAP
    return places


def _box(name: str, place: tuple[float, float, float], colour: str) -> str:
    left, top, width = place
    return (
        f'<rect class="box" x="{left:g}" y="{top:g}" width="{width:g}" height="{BOX_HEIGHT}" '
        f'rx="7" fill="{colour}"/>'
        f'<text x="{left + width / 2:g}" y="{top + BOX_HEIGHT / 2 + 5:g}" '
        f'text-anchor="middle">{escape(name)}</text>'
    )


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    """Return a curve from the foot of one box to the head of another."""
    # Feet and heads lean towards the other box, so that arrows of one box fan out.
    lean = max(-0.35, min(0.35, (end[0] - start[0]) / WIDTH))
    x1, y1 = start[0] + start[2] * (0.5 + lean), start[1] + BOX_HEIGHT
    x2, y2 = end[0] + end[2] * (0.5 - lean), end[1] - 1
    middle = (y1 + y2) / 2
    curve = f"C{x1:.1f} {middle:g} {x2:.1f} {middle:g} {x2:.1f} {y2:g}"
    return f'<path d="M{x1:.1f} {y1:g}{curve}"/>'


def packages_page() -> str:
    """Return the table of the packages, with every import and library."""
    house = packages()
    lines = [
        "# Packages",
        "",
        "<!-- Made from the imports by `make docs`. -->",
        "",
        "Every package, the packages it imports, and the third-party libraries it uses. A package",
        "imports only rows below its own; `make imports` checks it. The picture is in",
        "[the architecture](../architecture.md).",
        "",
        "| Package | What it is | Imports | Libraries |",
        "|---|---|---|---|",
    ]
    for row in house.rows:
        for name in row:
            doc = (importlib.import_module(f"{PACKAGE}.{name}").__doc__ or "").strip()
            ours = ", ".join(f"`{other}`" for other in sorted(house.imports[name]))
            theirs = ", ".join(f"`{other}`" for other in sorted(house.libraries[name]))
            lines.append(f"| `{name}` | {doc.splitlines()[0]} | {ours} | {theirs} |")
    return "\n".join(lines) + "\n"
