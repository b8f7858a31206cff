"""PEFT's patterns: regular expressions of Python's that name modules by the end of their name.

re2 answers in linear time and knows no lookarounds or references. A pattern with such goes to
Python's own ``re`` in a child process with a time limit, since one from elsewhere may be hostile.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import re2

from fine_tuning.core.errors import TrainingError

TIME_LIMIT_S: Final = 5.0
MAX_PATTERN_CHARS: Final = 10_000
_CHILD = """
import json, re, sys
patterns, modules = json.load(sys.stdin)
print(json.dumps([[m for m in modules if re.match(p, m)] for p in patterns]))
"""
_HELP = "write plain module names into alpha_pattern and rank_pattern, as PEFT's own are"


def named_by(patterns: Iterable[str], modules: Sequence[str]) -> dict[str, str]:
    """Return the first pattern that names each module (peft, utils/other.py, get_pattern_key).

    Args:
        patterns: In the order of the configuration.
        modules: Full names, such as ``model.layers.0.self_attn.q_proj``.

    Returns:
        Pattern by module; modules that none names are left out.

    Raises:
        TrainingError: if a pattern is no regular expression, or takes too long.
    """
    expressions = {pattern: rf"(.*\.)?({pattern})$" for pattern in patterns}
    matches = _matches(expressions, modules)
    named: dict[str, str] = {}
    for pattern in expressions:
        for module in matches[pattern]:
            named.setdefault(module, pattern)
    return named


def _matches(expressions: Mapping[str, str], modules: Sequence[str]) -> dict[str, list[str]]:
    matches: dict[str, list[str]] = {}
    for pattern, expression in expressions.items():
        if len(pattern) > MAX_PATTERN_CHARS:
            raise _bad(pattern, f"has {len(pattern)} characters, expected fewer")
        try:
            quick = re2.compile(expression, _quiet())
        except re2.error:
            continue
        matches[pattern] = [module for module in modules if quick.match(module)]
    others = [pattern for pattern in expressions if pattern not in matches]
    for pattern in others:
        _check(pattern, expressions[pattern])
    if others:
        matches |= _matches_of_python([*others], expressions, modules)
    return matches


def _quiet() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    return options


def _check(pattern: str, expression: str) -> None:
    try:
        re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise _bad(pattern, f"is no regular expression: {error}") from error


def _matches_of_python(
    patterns: Sequence[str], expressions: Mapping[str, str], modules: Sequence[str]
) -> dict[str, list[str]]:
    asked = json.dumps([[expressions[pattern] for pattern in patterns], list(modules)])
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and script
            [sys.executable, "-I", "-c", _CHILD],
            input=asked,
            capture_output=True,
            check=True,
            text=True,
            timeout=TIME_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise _bad(patterns[0], f"takes more than {TIME_LIMIT_S:.0f} seconds to match") from error
    except subprocess.CalledProcessError as error:
        raise _bad(patterns[0], "cannot be matched") from error
    return dict(zip(patterns, json.loads(child.stdout), strict=True))


def _bad(pattern: str, reason: str) -> TrainingError:
    return TrainingError(f"the pattern {pattern[:80]!r} {reason}", next_command=_HELP)
