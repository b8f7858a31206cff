"""Commands about adapters and Modelfiles: models import, models modelfile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fine_tuning.cli.options import AsJson, Base, Config, Home, Overrides, open_workbench
from fine_tuning.cli.output import answer, facts, progress_bars, say

app = typer.Typer()


@app.command(name="import")
def import_adapter(
    source: Annotated[
        Path,
        typer.Argument(help="A folder of PEFT (adapter_config.json), or a GGUF LoRA adapter."),
    ],
    base: Base = None,
    family: Annotated[
        str, typer.Option("--family", help="The family it joins, such as support.")
    ] = "",
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Register an adapter trained elsewhere as a version: show, compare, deploy and export it.

    Example: fine-tuning models import downloads/my-lora --base mistral:7b-instruct
    """
    with progress_bars() as progress:
        bench = open_workbench(home, config, overrides, base=base, progress=progress)
        done = bench.models.importer.import_adapter(source, base, family=family)
    version = done.version
    rows = {
        "version": version.name if done.is_new else f"{version.name}, as before",
        "from": f"{source} ({done.form})",
        "base": version.base_name,
        "data set": version.data_words,
        "checked": "it fits the base, and llama.cpp has loaded it",
        "next": f"fine-tuning compare base {version.name}",
    }
    answer(done.to_dict(), as_json=as_json, table=facts("imported", rows))


@app.command()
def modelfile(
    name: Annotated[
        str, typer.Argument(help="support:3, support:champion, support, latest, a run or served.")
    ],
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show the Modelfile of a version; with it, Ollama serves the version without this program.

    Example: fine-tuning models modelfile support:3
    """
    path = open_workbench(home, config, overrides).models.modelfiles.find(name)
    text = path.read_text(encoding="utf-8")
    if as_json:
        answer({"path": str(path), "modelfile": text}, as_json=True)
        return
    # As it is: a line that was wrapped for reading would be another Modelfile.
    typer.echo(text, nl=False)
    say(f"Next: ollama create NAME -f {path}")
