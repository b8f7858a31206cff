"""Write the files that are made from others, or with ``--check`` say which are out of date.

``fine_tuning_config.yaml`` and ``docs/reference/config.md`` come from the settings schema,
``fine_tuning/requirements.txt`` from ``pyproject.toml``, ``docs/reference/errors.md`` from the
error tree, ``docs/reference/cli.md`` from the commands, and the picture and table of the packages
from the imports.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from fine_tuning.config.settings_reference import settings_file, settings_page
from fine_tuning.core import errors
from scripts.cli_reference import cli_page
from scripts.freeze import requirements
from scripts.import_graph import packages_page, picture

ROOT = Path(__file__).resolve().parents[1]


def requirements_file() -> str:
    """Return ``requirements.txt``: what the whole system needs to run, all extras included."""
    lines = [
        "# Made from pyproject.toml by `make docs`; edit that file.",
        *requirements("all"),
    ]
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """Return the reference page of exit codes."""
    tree = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.FineTuningError)
    ]
    lines = [
        "# Exit codes",
        "",
        "<!-- Made from fine_tuning/core/errors.py by `make docs`; edit that file. -->",
        "",
        "| Code | Error | Meaning |",
        "|---:|---|---|",
    ]
    for kind in sorted(tree, key=lambda kind: kind.exit_code):
        meaning = (kind.__doc__ or "").strip().splitlines()[0]
        lines.append(f"| {kind.exit_code} | `{kind.__name__}` | {meaning} |")
    return "\n".join(lines) + "\n"


def generated_files() -> Mapping[Path, str]:
    """Return every generated file and what it must hold."""
    return {
        ROOT / "fine_tuning/config/fine_tuning_config.yaml": settings_file(),
        ROOT / "fine_tuning/requirements.txt": requirements_file(),
        ROOT / "docs/reference/config.md": settings_page(),
        ROOT / "docs/reference/errors.md": errors_page(),
        ROOT / "docs/reference/cli.md": cli_page(),
        ROOT / "docs/reference/packages.md": packages_page(),
        ROOT / "docs/images/packages.svg": picture(),
    }


def main() -> int:
    """Write or check; return 1 if a check finds a file out of date."""
    parser = argparse.ArgumentParser(description="Write the generated files.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    check = parser.parse_args().check
    stale = [
        path
        for path, text in generated_files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        name = path.relative_to(ROOT)
        if check:
            print(f"{name} is out of date. Next: make docs", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(generated_files()[path], encoding="utf-8")
            print(f"wrote {name}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
