"""The reference page of the command line, made from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, cast

import typer

from fine_tuning.cli.main import app
from fine_tuning.core import errors


class Parameter(Protocol):
    """What is read of an option or argument of typer's, which exports no type for them."""

    name: str
    param_type_name: str
    opts: list[str]
    secondary_opts: list[str]
    nargs: int
    metavar: str | None
    required: bool
    default: object
    help: str | None


class Command(Protocol):
    """What is read of a command, or of a group of them."""

    help: str | None
    params: list[Parameter]


HEAD = """\
# Command line

<!-- Made from fine_tuning/cli by `make docs`; edit the commands there. -->

Every command is a verb of `fine-tuning`. `fine-tuning VERB --help` prints what stands here, and
`fine-tuning --verbose VERB` logs what happens on standard error. Results go to standard output,
progress and remarks to standard error, so that `--json` can be piped.

## Shared options

Most commands take these; each command below lists only its own.

| Option | Default | Meaning |
|---|---|---|
"""
# The parameters that many commands share: they are explained once.
SHARED = ("home", "config", "overrides", "as_json")
CODES = """
## Exit codes

A command that did its work ends with 0. `models verify` ends with 1 when a file differs, and
`doctor --data` with 3 when training must not go on. Every error has a code of its own; the sentence
on standard error says what was seen, what was expected, and the next command.

| Code | Meaning |
|---:|---|
| 0 | The command did its work. |
"""


def cli_page() -> str:
    """Return the page: shared options, exit codes, and a section per command."""
    root = cast("Command", typer.main.get_command(app))
    commands = list(_commands(root, "fine-tuning"))
    shared = {p.name: p for _, command in commands for p in command.params if p.name in SHARED}
    lines = [HEAD.rstrip("\n")]
    lines += [_row(shared[name]) for name in SHARED]
    lines += ["", CODES.strip("\n")]
    lines += [f"| {code} | {meaning} |" for code, meaning in _exit_codes()]
    lines += ["", "## Commands", "", "| Command | What it does |", "|---|---|"]
    lines += [f"| [`{name}`](#{_anchor(name)}) | {_first_line(c)} |" for name, c in commands]
    for name, command in commands:
        lines += ["", *_section(name, command)]
    return "\n".join(lines) + "\n"


def _commands(group: Command, path: str) -> Iterator[tuple[str, Command]]:
    for name, command in _members(group).items():
        yield f"{path} {name}", command
        yield from _commands(command, f"{path} {name}")


def _members(command: Command) -> Mapping[str, Command]:
    """Return the commands of a group; none if it is no group."""
    return cast("Mapping[str, Command]", getattr(command, "commands", {}))


def _section(name: str, command: Command) -> list[str]:
    paragraphs = " ".join(_usage(name, command).split())
    lines = [f"### {name}", "", "```text", paragraphs, "```", ""]
    for paragraph in (command.help or "").split("\n\n"):
        text = " ".join(paragraph.split())
        before, example, rest = text.partition("Example: ")
        lines += [before + (f"Example: `{rest}`" if example else ""), ""]
    own = [p for p in command.params if p.name not in SHARED]
    if own:
        lines += ["| Argument or option | Default | Meaning |", "|---|---|---|"]
        lines += [_row(parameter) for parameter in own]
        lines += [""]
    shared = [f"`{p.opts[0]}`" for p in command.params if p.name in SHARED]
    lines += [f"Shared: {', '.join(shared)}."]
    return lines


def _usage(name: str, command: Command) -> str:
    words = [_shown(p) if p.required else f"[{_shown(p)}]" for p in _arguments(command)]
    tail = " COMMAND [ARGS]..." if _members(command) else ""
    return f"{name} [OPTIONS] {' '.join(words)}{tail}"


def _arguments(command: Command) -> list[Parameter]:
    return [p for p in command.params if p.param_type_name == "argument"]


def _shown(parameter: Parameter) -> str:
    """Return an argument as the usage line names it."""
    name = str(parameter.metavar or parameter.name.upper())
    return name if parameter.nargs == 1 or "..." in name else f"{name}..."


def _row(parameter: Parameter) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{_shown(parameter)}`"
        default = "required" if parameter.required else _default(parameter)
    else:
        value = "" if _is_flag(parameter) else f" {parameter.metavar or _kind(parameter)}"
        name = " / ".join(f"`{o}{value}`" for o in [*parameter.opts, *parameter.secondary_opts])
        default = _default(parameter)
    # A bar would end the table's cell.
    return f"| {name} | {default} | {parameter.help or ''} |".replace("RUN|base", "RUN or base")


def _kind(parameter: Parameter) -> str:
    return {"str": "TEXT", "Path": "PATH", "int": "NUMBER", "float": "NUMBER"}.get(
        getattr(getattr(parameter, "type_descriptor", None), "annotation", str).__name__, "TEXT"
    )


def _is_flag(parameter: Parameter) -> bool:
    """Return whether an option takes no value; an argument knows nothing of the kind."""
    return bool(getattr(parameter, "is_flag", False))


def _default(parameter: Parameter) -> str:
    value = parameter.default
    if _is_flag(parameter):
        return "on" if value else "off"
    return "none" if value in (None, "") else f"`{value}`"


def _first_line(command: Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _exit_codes() -> list[tuple[int, str]]:
    """Return code and meaning of every error, in the order of the codes."""
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.FineTuningError)
    ]
    pairs = [(kind.exit_code, (kind.__doc__ or "").strip().splitlines()[0]) for kind in kinds]
    return [(1, "Any other error."), *sorted(pair for pair in pairs if pair[0] != 1)]
