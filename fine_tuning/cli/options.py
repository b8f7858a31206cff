"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fine_tuning.config.schema import Settings
    from fine_tuning.config.workspace import Workspace
    from fine_tuning.core.ports import Progress
    from fine_tuning.workbench.workbench import Workbench

Home = Annotated[
    Path | None,
    typer.Option("--home", help="The workspace; FINE_TUNING_HOME or ./fine_tuning_home if absent."),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="A settings file; without one, the defaults.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as training.lora_r=8."),
]
Base = Annotated[
    str | None,
    typer.Option(
        "--base", help="Base model: an Ollama name, a .gguf file, or embedded. Stands for --set."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


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
    from fine_tuning.workbench.process import be_a_good_neighbour, loading

    settings, workspace = open_workspace(home, config, overrides)
    if base is not None:
        training = settings.training.model_copy(update={"base_model": base})
        settings = settings.model_copy(update={"training": training})
    be_a_good_neighbour()
    with loading("torch"):
        from fine_tuning.workbench.workbench import Workbench

    return Workbench(settings, workspace, progress)
