"""Write ``constraints.txt``: the exact versions of this environment, for everybody to install.

Run it in an environment that passes ``make check``. Build tags such as ``+cpu`` are cut off, so
that a constraint accepts any build of the same version.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# Every version an installation gets; written by scripts/freeze.py, from an environment that
# passed `make check`.
"""
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^+\s]+)(?:\+\S+)?$")
_FROM_FILE = re.compile(r"^([A-Za-z0-9._-]+) @ .*?-([0-9][^-+]*?)(?:(?:\+|%2B)[^-]+)?-")


def pins(frozen: str) -> list[str]:
    """Return ``name==version`` lines of a ``pip freeze``, in its order.

    Raises:
        ValueError: if a line is neither a version nor a wheel file.
    """
    found = []
    for line in filter(None, frozen.splitlines()):
        match = _PIN.match(line) or _FROM_FILE.match(line)
        if match is None:
            raise ValueError(f"{line!r} names no version, expected name==version")
        found.append(f"{match[1]}=={match[2]}")
    return [pin for pin in found if not pin.startswith(("pip==", "fine-tuning=="))]


def main() -> None:
    """Write the file."""
    command = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable"]
    frozen = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = pins(frozen)
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote constraints.txt: {len(lines)} versions")


if __name__ == "__main__":
    main()
