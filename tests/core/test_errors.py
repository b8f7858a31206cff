"""The error tree: one exit code each, a sentence, and the next command."""

from __future__ import annotations

import pytest

from fine_tuning.core import errors

TREE = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.FineTuningError)
]


def test_every_error_has_its_own_exit_code() -> None:
    codes = [kind.exit_code for kind in TREE]
    assert len(set(codes)) == len(codes) > 10
    assert all(0 < code < 256 for code in codes)
    assert errors.InterruptedRunError.exit_code == 128 + 2  # the shell's code of SIGINT


@pytest.mark.parametrize("kind", TREE)
def test_the_drawing_shows_every_error(kind: type[errors.FineTuningError]) -> None:
    (line,) = (
        line
        for line in (errors.__doc__ or "").splitlines()
        if f" {kind.__name__} " in line.replace("─", " ")
    )
    words = line.split()
    assert str(kind.exit_code) in words


def test_an_error_says_what_to_do_next() -> None:
    error = errors.ModelNotFoundError("no model 'x'", next_command="ollama pull x")
    assert str(error) == "no model 'x'\nNext: ollama pull x"
    assert str(errors.DataError("nothing")) == "nothing"
