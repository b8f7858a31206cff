"""The docstrings of the engine and of the public face say what goes in, comes out and fails."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import fine_tuning

PACKAGE = Path(fine_tuning.__file__).parent
ENGINE = sorted((PACKAGE / "engine").rglob("*.py"))

FACADES = [
    *(
        PACKAGE / "workbench" / name
        for name in ("train/train.py", "evaluate/evaluate.py", "data/data.py")
    ),
    *(
        path
        for room in ("models", "chat", "jobs", "doctor")
        for path in sorted((PACKAGE / "workbench" / room).glob("*.py"))
    ),
]
PUBLIC = sorted(
    {
        Path(inspect.getfile(value))
        for value in (getattr(fine_tuning, name) for name in fine_tuning.__all__)
        if inspect.isclass(value) or inspect.isfunction(value)
    }
)
KERNELS = {"CppKernels", "TorchKernels"}  # what they do stands in kernels/interface.py
# Of engine/step.py, which has no line left: their arguments are those of the functions above them.
OPEN = {"evaluate_loss", "score_targets", "output_norm", "next_token_logits"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Documented:
    """A public function and where it is."""

    where: str
    node: _Function
    docstring: str

    @classmethod
    def of(cls, where: str, node: _Function) -> Documented:
        return cls(where, node, ast.get_docstring(node) or "")

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters, without self and cls."""
        arguments = self.node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        more = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
        return [a.arg for a in [*named, *more] if a.arg not in ("self", "cls")]

    @property
    def described(self) -> set[str]:
        """The names that the Args section describes."""
        section = self.docstring.partition("Args:\n")[2]
        names = set()
        for line in section.splitlines():
            if line and not line.startswith(" "):
                break
            if line.startswith("    ") and not line.startswith("     "):
                names.add(line.strip().partition(":")[0].partition(" (")[0].lstrip("*"))
        return names

    @property
    def decorators(self) -> set[str]:
        return {ast.unparse(decorator).rpartition(".")[2] for decorator in self.node.decorator_list}

    @property
    def returns_value(self) -> bool:
        """Whether a caller gets something back; a property or a generator counts as documented."""
        if self.decorators & {"property", "cached_property", "contextmanager", "overload"}:
            return False
        if self.node.returns is None or ast.unparse(self.node.returns) in ("None", "NoReturn"):
            return False
        return not any(isinstance(n, ast.Yield | ast.YieldFrom) for n in _own(self.node))

    @property
    def is_told(self) -> bool:
        """Whether the text itself says what is returned."""
        return re.search(r"\b[Rr]eturns?\b|^Yield |^Tell whether ", self.docstring) is not None

    @property
    def raises(self) -> bool:
        """Whether its own body raises."""
        return any(isinstance(node, ast.Raise) for node in _own(self.node))

    def lacks(self) -> Iterator[str]:
        """Yield the sections that are missing."""
        if len(self.parameters) >= 2 and set(self.parameters) - self.described:
            yield f"Args: {', '.join(sorted(set(self.parameters) - self.described))}"
        # A summary that says what is returned suffices, as the Google style has it.
        if self.returns_value and "Returns:\n" not in self.docstring and not self.is_told:
            yield "Returns"
        if self.raises and "Raises:\n" not in self.docstring:
            yield "Raises"


def _own(function: _Function) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body, without those of functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)


def public_functions(path: Path) -> Iterator[Documented]:
    """Yield the public functions of a module and of its public classes."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef | _Function) or node.name.startswith("_"):
            continue
        name = path.relative_to(PACKAGE.parent)
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, _Function) and not member.name.startswith("_"):
                    yield Documented.of(f"{name}:{node.name}.{member.name}", member)
        else:
            yield Documented.of(f"{name}:{node.name}", node)


def documented() -> list[Documented]:
    """Return every function held to its sections."""
    functions = [f for path in [*ENGINE, *FACADES, *PUBLIC] for f in public_functions(path)]
    return [f for f in functions if f.where.partition(":")[2].partition(".")[0] not in KERNELS]


@pytest.mark.parametrize("function", documented(), ids=lambda function: function.where)
def test_a_public_function_documents_arguments_result_and_errors(function: Documented) -> None:
    assert function.docstring
    missing = [section for section in function.lacks() if not section.startswith("Args")]
    assert missing == []
    assert function.node.name in OPEN or not list(function.lacks())
