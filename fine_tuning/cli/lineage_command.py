"""The command lineage: from what is served to conversations, and from a conversation to models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import Shared, shared_options
from fine_tuning.cli.output import answer, facts, say
from fine_tuning.core.errors import DataError, ModelNotFoundError

if TYPE_CHECKING:
    from fine_tuning.model_management.versions import ModelVersion
    from fine_tuning.workbench.workbench import Workbench

app = typer.Typer()


@app.command()
@shared_options()
def lineage(
    shared: Shared,
    name: Annotated[str, typer.Argument(help="Served name, version, or a conversation's id.")],
) -> None:
    """Show what a model was trained on.

    Of a conversation, show the versions that were trained on it.

    Example: fine-tuning lineage fine_tuned_support:champion
    """
    bench = shared.open()
    if base := bench.models.aliases.base_behind(name):
        answer({"version": f"{base.family}:base", "conversations": []}, as_json=shared.as_json)
        say(
            f"{name} answers as the base model {base.target}, which was trained on none of your "
            "conversations; fine-tuning models lists the versions that were"
        )
        return
    try:
        version = bench.models.versions.find(name)
    except ModelNotFoundError as no_version:
        try:
            _show_trace(bench, name, as_json=shared.as_json)
        except DataError as no_conversation:
            raise ModelNotFoundError(
                f"{no_version.message}; and {no_conversation.message}",
                next_command=no_version.next_command,
            ) from no_conversation
    else:
        _show_origins(bench, version, as_json=shared.as_json)


def _show_origins(bench: Workbench, version: ModelVersion, *, as_json: bool) -> None:
    from dataclasses import asdict

    from rich.table import Table

    from fine_tuning.model_management.lineage import LEARNT

    origins = bench.models.lineage.origins(version.name)
    learnt = sum(one.split in LEARNT for one in origins)
    value = {
        "version": version.name,
        "parents": list(version.parents),
        "started_from": list(version.started_from),
        "conversations": [asdict(one) for one in origins],
    }
    grid = Table(title=f"conversations of {version.name}", title_justify="left")
    for heading in ("conversation", "split", "through version"):
        grid.add_column(heading, overflow="fold")
    for one in origins:
        grid.add_row(one.conversation_id, one.split, one.via)
    answer(value, as_json=as_json, table=grid)
    say(f"{learnt} conversations trained on, {len(origins) - learnt} only tested on")
    say(f"parents of {version.name}: {version.parent_words}")


def _show_trace(bench: Workbench, name: str, *, as_json: bool) -> None:
    from dataclasses import asdict

    trace = bench.models.lineage.trace_conversation(name)
    rows: dict[str, object] = {f"data set {name}": split for name, split in trace.datasets.items()}
    for use in trace.uses:
        learnt = f"trained on it ({use.split})" if use.is_learnt else "only tested on it"
        rows[use.version] = learnt + (f", through {use.via}" if use.via != use.version else "")
    rows["served as"] = ", ".join(trace.served) or "nothing"
    table = facts(f"conversation {trace.conversation_id}", rows)
    answer(asdict(trace), as_json=as_json, table=table)
