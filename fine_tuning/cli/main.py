"""The command ``fine-tuning``: the verbs, and the one place that catches errors.

Heavy libraries are loaded inside commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, cast

import typer

import fine_tuning
from fine_tuning.cli import (
    app_command,
    chat_command,
    collection_commands,
    data_commands,
    deploy_commands,
    lineage_command,
    lm_eval_command,
    model_commands,
    registry_commands,
    serve_command,
    switch_commands,
    system_commands,
)
from fine_tuning.core.errors import FineTuningError, InterruptedRunError, StorageError
from fine_tuning.core.extras import missing_extra

# Nothing leaves the machine: switched off before any library could look.
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}

# What typer raises for an unknown verb or option; it exports only this subclass of it.
USAGE_ERROR = cast("type[typer.BadParameter]", typer.BadParameter.__base__)

app = typer.Typer(
    name="fine-tuning",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for room in (
    system_commands,
    chat_command,
    collection_commands,
    data_commands,
    model_commands,
    lm_eval_command,
    registry_commands,
    lineage_command,
    deploy_commands,
    switch_commands,
    serve_command,
    app_command,
):
    app.add_typer(room.app)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        sys.stdout.write(f"fine-tuning {fine_tuning.__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log debug messages to standard error.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Turn the chats you have with your local chatbot into a measurably better local model.

    Start here: fine-tuning demo
    """
    if verbose:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    else:
        logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    try:
        code = _call(arguments)
    except FineTuningError as error:
        code = _tell(str(error), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = _tell("interrupted", InterruptedRunError.exit_code)
    except USAGE_ERROR as error:
        error.show(sys.stderr)
        code = error.exit_code
    except SystemExit:
        # Whoever read the output (head, less) left; typer turns that into this.
        code = _without_output(0)
    except OSError as error:
        sentence = f"the answer could not be written: {error.strerror or error}"
        code = _without_output(_tell(sentence, StorageError.exit_code))
    return code if isinstance(code, int) else 0


def _call(arguments: Sequence[str] | None) -> object:
    """Run a command; return what it returns.

    Raises:
        MissingDependencyError: if it needs a library of an extra that is not installed.
    """
    try:
        return app(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from error


def _without_output(code: int) -> int:
    """Give what is still to be written nowhere to fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _tell(sentence: str, code: int) -> int:
    sys.stderr.write(f"Error: {sentence}\n")
    return code
