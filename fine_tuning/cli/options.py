"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, cast, get_type_hints

import typer

if TYPE_CHECKING:
    from fine_tuning.config.schema import Settings
    from fine_tuning.config.workspace import Workspace
    from fine_tuning.core.ports import Progress
    from fine_tuning.workbench.workbench import Workbench

P = ParamSpec("P")

Home = Annotated[
    Path | None,
    typer.Option("--home", help="Workspace; else FINE_TUNING_HOME, else ./fine_tuning_home."),
]
Config = Annotated[Path | None, typer.Option("--config", help="Settings file (YAML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: training.lora_r=8."),
]
Base = Annotated[
    str | None,
    typer.Option("--base", help="Base model: Ollama name, .gguf file, or embedded."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the options that every command has were given as; each field is one option."""

    home: Path | None = None
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    as_json: bool = False

    def open(
        self,
        *,
        base: str | None = None,
        progress: Progress | None = None,
        settings: Sequence[str] = (),
    ) -> Workbench:
        """Load the settings and open a workbench on the workspace.

        Args:
            base: The base model, in place of the setting.
            progress: Called as work advances.
            settings: Further ``KEY=VALUE`` pairs, stronger than those of ``--set``.

        Raises:
            ConfigError: if a setting is not accepted.
        """
        overrides = [*self.overrides, *settings]
        return open_workbench(self.home, self.config, overrides, base=base, progress=progress)

    def workspace(self) -> Workspace:
        """Return the workspace alone, without what works on it.

        Raises:
            ConfigError: if a setting is not accepted.
        """
        _, workspace = open_workspace(self.home, self.config, list(self.overrides))
        return workspace


def shared_options(
    *, has_json: bool = True
) -> Callable[[Callable[Concatenate[Shared, P], None]], Callable[..., None]]:
    """Return a decorator that gives a command the shared options, last in its help.

    The command takes a ``Shared`` first. typer reads options off a signature, so that of what is
    returned names the options one by one, with their types and help.

    Args:
        has_json: Whether the command takes ``--json``.
    """

    def decorate(command: Callable[Concatenate[Shared, P], None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        first, *own = inspect.signature(command).parameters.values()
        del hints[first.name]
        options: dict[str, tuple[Any, Any]] = {
            "home": (Home, None),
            "config": (Config, None),
            "overrides": (Overrides, None),
        }
        if has_json:
            options["as_json"] = (AsJson, False)
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            *(one.replace(kind=keyword, annotation=hints[one.name]) for one in own),
            *(
                inspect.Parameter(name, keyword, default=default, annotation=option)
                for name, (option, default) in options.items()
            ),
        ]

        @functools.wraps(command)
        def with_options(**given: object) -> None:
            values: Any = {name: given.pop(name) for name in options}
            values["overrides"] = tuple(values["overrides"] or ())
            cast("Callable[..., None]", command)(Shared(**values), **given)

        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {one.name: one.annotation for one in parameters}
        return with_options

    return decorate


def open_workspace(
    home: Path | None, config: Path | None, overrides: list[str] | None
) -> tuple[Settings, Workspace]:
    """Load the settings and open the workspace, without what works on it.

    Raises:
        ConfigError: if a setting is not accepted.
    """
    from fine_tuning.config.loader import load_settings
    from fine_tuning.config.workspace import Workspace

    settings = load_settings(config, overrides=tuple(overrides or ()))
    return settings, Workspace.open(home, settings)


def open_workbench(
    home: Path | None,
    config: Path | None,
    overrides: list[str] | None,
    *,
    base: str | None = None,
    progress: Progress | None = None,
) -> Workbench:
    """Load the settings and open a workbench on the workspace.

    Raises:
        ConfigError: if a setting is not accepted.
    """
    from fine_tuning.workbench.process import gc_paused, limit_spinning

    settings, workspace = open_workspace(home, config, overrides)
    if base is not None:
        training = settings.training.model_copy(update={"base_model": base})
        settings = settings.model_copy(update={"training": training})
    limit_spinning()
    with gc_paused("torch"):
        from fine_tuning.workbench.workbench import Workbench

    return Workbench(settings, workspace, progress)
