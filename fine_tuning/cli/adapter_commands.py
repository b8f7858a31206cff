"""Commands about adapters and Modelfiles: models import, models modelfile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fine_tuning.cli.options import Base, Shared, shared_options
from fine_tuning.cli.output import answer, facts, progress_bars, say

app = typer.Typer()


@app.command(name="import")
@shared_options()
def import_adapter(
    shared: Shared,
    source: Annotated[
        Path,
        typer.Argument(help="PEFT folder (adapter_config.json) or GGUF LoRA adapter."),
    ],
    base: Base = None,
    family: Annotated[str, typer.Option("--family", help="Model family it joins: support.")] = "",
) -> None:
    """Register an adapter that was trained elsewhere.

    It becomes a version like any other: to show, compare, deploy and export.

    Example: fine-tuning models import downloads/my-lora --base mistral:7b-instruct
    """
    with progress_bars() as progress:
        bench = shared.open(base=base, progress=progress)
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
    answer(done.to_dict(), as_json=shared.as_json, table=facts("imported", rows))


@app.command()
@shared_options()
def modelfile(
    shared: Shared,
    name: Annotated[str, typer.Argument(help="Version, alias, family, run, or latest.")],
) -> None:
    """Print the Modelfile of a version for Ollama.

    With it, Ollama serves the version without this program.

    Example: fine-tuning models modelfile support:3
    """
    path = shared.open().models.modelfiles.find(name)
    text = path.read_text(encoding="utf-8")
    if shared.as_json:
        answer({"path": str(path), "modelfile": text}, as_json=True)
        return
    # As it is: a line that was wrapped for reading would be another Modelfile.
    typer.echo(text, nl=False)
    say(f"Next: ollama create NAME -f {path}")
