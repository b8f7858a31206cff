"""The command that lets other programs talk to the workspace's models, without Ollama."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import Shared, shared_options
from fine_tuning.cli.output import say

if TYPE_CHECKING:
    from fine_tuning.workbench.chat.serving import ServedAt

SHOWN_MODELS = 8
app = typer.Typer()


@app.command()
@shared_options(has_json=False)
def serve(
    shared: Shared,
    host: Annotated[
        str | None,
        typer.Option("--host", help="Address; other machines need a token."),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="TCP port; 0: a free one.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Require the token in this file."),
    ] = None,
) -> None:
    """Serve models to clients of Ollama and OpenAI.

    Deployed versions, runs and base models, until Ctrl-C.

    Example: fine-tuning serve --port 11435
    """
    bench = shared.open()
    bench.chat.server.serve(host=host, port=port, token_file=token_file, started=_tell)
    say("Stopped.")


def _tell(served: ServedAt) -> None:
    shown = ", ".join(served.models[:SHOWN_MODELS]) or "none yet"
    more = len(served.models) - SHOWN_MODELS
    say(f"Models: {shown}" + (f" and {more} more" if more > 0 else ""))
    say(f"Ollama's interface at {served.url}, OpenAI's at {served.url}/v1; Ctrl-C stops.")
    if served.token_file:
        say(f"Requests bring the header 'Authorization: Bearer <token>'; see {served.token_file}.")
