"""Measure the shape of the house, and refuse one that outgrew its budgets.

Printed for each measure: its value, its budget, and whether it holds. ``--json`` prints values
alone. Run by ``make house``, which ``make check`` calls.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fine_tuning"
BENCH = PACKAGE / "workbench" / "workbench.py"
ANY_MAPPING = re.compile(r"\b(?:dict|Mapping|MutableMapping)\[str, Any\]")
COUNT_MODULES = """
import sys
{code}
print(len(sys.modules), sum(name.split('.')[0] == 'fine_tuning' for name in sys.modules))
"""
HELP = """
sys.argv = ['fine-tuning', '--help']
from fine_tuning.cli.main import main
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""
TRACED = """
import sys, threading
sys.path.insert(0, {root!r})
from scripts.house import report_chain
hook = report_chain({package!r})
threading.setprofile(hook)
sys.setprofile(hook)
from fine_tuning.cli.main import main
sys.argv = ["fine-tuning", *{words!r}]
main()
"""
LONGEST_S = 300
"""A training that was not stopped by then never called the product by its name."""
SMALLEST_TRAINING = (
    "training.num_epochs=1", "training.lora_r=1", "training.threads=1", "training.batch_size=1",
    "training.learning_rate=1e-4",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of the house; ``budget`` None is told and not enforced."""

    name: str
    value: int
    budget: int | None = None
    remark: str = ""

    @property
    def holds(self) -> bool:
        """Whether the value is within its budget."""
        return self.budget is None or self.value <= self.budget


def classes(folder: Path) -> dict[str, ast.ClassDef]:
    """Return the classes defined in a folder of the package, by name."""
    return {
        node.name: node
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }


def inheritance_depth(known: Mapping[str, ast.ClassDef], name: str) -> int:
    """Return how many classes of ours stand above each other, the class itself included."""
    bases = [ast.unparse(base).split("[")[0].split(".")[-1] for base in known[name].bases]
    return 1 + max((inheritance_depth(known, base) for base in bases if base in known), default=0)


def public_methods(node: ast.ClassDef) -> list[str]:
    """Return the names of a class's public methods and properties."""
    return [
        item.name
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name[0] != "_"
    ]


def facades(known: Mapping[str, ast.ClassDef]) -> dict[str, str]:
    """Return the class behind each attribute that ``Workbench`` holds."""
    bench = known["Workbench"]
    held: dict[str, str] = {}
    for node in ast.walk(bench):
        match node:
            case ast.FunctionDef(name=name, returns=ast.Name(id=kind), decorator_list=[_]):
                held[name] = kind
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)],
                value=ast.Call(func=ast.Name(id=kind)),
            ):
                held[name] = kind
    return {name: kind for name, kind in held.items() if kind in known}


def modules_loaded(code: str) -> tuple[int, int]:
    """Return how many modules a fresh interpreter has after some code, and how many of ours."""
    script = COUNT_MODULES.format(code=code)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    every, ours = done.stdout.split()[-2:]
    return int(every), int(ours)


class report_chain:  # noqa: N801 - used as a function
    """A profiling hook that ends the process with the first gradient of an adapter.

    It prints the functions of the package between the command and a matrix product of the
    training loop, outermost first; of all chains until then the longest.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._longest: list[str] = []

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Look at a function that is being called."""
        if event != "call" or not frame.f_code.co_qualname.startswith("StackedAdapter."):
            return
        if frame.f_code.co_name == "product":
            chain = self._chain(frame)
            if any(name.startswith("training.trainer_utils") for name in chain):  # no forecast
                self._longest = max(chain, self._longest, key=len)
        elif frame.f_code.co_name == "accumulate" and self._longest:
            sys.setprofile(None)
            sys.stdout.write("CHAIN " + json.dumps(self._longest) + "\n")
            sys.exit(0)

    def _chain(self, innermost: FrameType) -> list[str]:
        names: list[str] = []
        frame: FrameType | None = innermost
        while frame is not None:
            code = frame.f_code
            if self._package in code.co_filename and "<" not in code.co_name:
                file = Path(code.co_filename)
                names.append(f"{file.parent.name}.{file.stem}:{code.co_qualname}")
            frame = frame.f_back
        start = next(i for i, name in enumerate(names) if name.startswith("cli."))
        return names[start::-1]


def training_chain() -> list[str]:
    """Return the functions from ``fine-tuning train`` to the first matrix product of a step."""
    with tempfile.TemporaryDirectory() as home:
        samples = PACKAGE / "data" / "samples" / "handbook_conversations.jsonl"
        shown = ["--home", home]
        program = [sys.executable, "-m", "fine_tuning"]
        subprocess.run(
            [*program, "import", str(samples), *shown], check=True, capture_output=True, cwd=ROOT
        )
        settings = [word for setting in SMALLEST_TRAINING for word in ("--set", setting)]
        words = ["train", "--base", "embedded", *shown, *settings]
        code = TRACED.format(root=str(ROOT), package=str(PACKAGE), words=words)
        done = subprocess.run(
            [sys.executable, "-c", code],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=LONGEST_S,
        )
    for line in done.stdout.splitlines():
        if line.startswith("CHAIN "):
            chain: list[str] = json.loads(line.removeprefix("CHAIN "))
            return chain
    raise RuntimeError(f"no training step was seen: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def measures(*, is_quick: bool) -> Iterator[Measure]:
    """Yield every measure."""
    known = classes(BENCH.parent)
    deepest = max(known, key=lambda name: inheritance_depth(known, name))
    yield Measure(
        "deepest inheritance in workbench", inheritance_depth(known, deepest), 1, f"at {deepest}"
    )
    for name, kind in facades(known).items():
        yield Measure(f"public methods of {name}", len(public_methods(known[kind])), 20, kind)
    every, ours = modules_loaded("import fine_tuning")
    yield Measure("modules of ours loaded by `import fine_tuning`", ours, 2, f"{every} in all")
    every, ours = modules_loaded(HELP)
    yield Measure("modules of ours loaded by --help", ours, 60, f"{every} in all")
    count = sum(
        len(ANY_MAPPING.findall(path.read_text(encoding="utf-8"))) for path in PACKAGE.rglob("*.py")
    )
    yield Measure("mappings from str to Any", count, 149)
    if not is_quick:
        chain = training_chain()
        yield Measure("calls from train to the matrix product", len(chain), 12, " > ".join(chain))


def main() -> int:
    """Print the measures; fail if one is over its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print values by name")
    parser.add_argument("--quick", action="store_true", help="leave out what takes seconds")
    asked = parser.parse_args()
    taken = list(measures(is_quick=asked.quick))
    if asked.json:
        print(json.dumps({measure.name: measure.value for measure in taken}, indent=2))
    else:
        for measure in taken:
            budget = "" if measure.budget is None else f"(at most {measure.budget})"
            sign = "ok  " if measure.holds else "OVER"
            print(f"{sign} {measure.value:5d} {budget:15} {measure.name}: {measure.remark}")
    return 0 if all(measure.holds for measure in taken) else 1


if __name__ == "__main__":
    sys.exit(main())
