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
        typer.Argument(help="A folder of PEFT (adapter_config.json), or a GGUF LoRA adapter."),
    ],
    base: Base = None,
    family: Annotated[
        str, typer.Option("--family", help="The family it joins, such as support.")
    ] = "",
) -> None:
    """Register an adapter trained elsewhere as a version: show, compare, deploy and export it.

    Example: fine-tuning models import downloads/my-lora --base mistral:7b-instruct
    """
    with progress_bars() as progress:
        bench = shared.open(base=base, progress=progress)
        done = bench.import_adapter(source, base, family=family)
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
    name: Annotated[
        str, typer.Argument(help="support:3, support:champion, support, latest, a run or served.")
    ],
) -> None:
    """Show the Modelfile of a version; with it, Ollama serves the version without this program.

    Example: fine-tuning models modelfile support:3
    """
    path = shared.open().modelfile(name)
    text = path.read_text(encoding="utf-8")
    if shared.as_json:
        answer({"path": str(path), "modelfile": text}, as_json=True)
        return
    # As it is: a line that was wrapped for reading would be another Modelfile.
    typer.echo(text, nl=False)
    say(f"Next: ollama create NAME -f {path}")
