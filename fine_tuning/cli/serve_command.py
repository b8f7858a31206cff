"""The command that lets other programs talk to the workspace's models, without Ollama."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import Config, Home, Overrides, open_workbench
from fine_tuning.cli.output import say

if TYPE_CHECKING:
    from fine_tuning.workbench.chat.serving import ServedAt

SHOWN_MODELS = 8
app = typer.Typer()


@app.command()
def serve(
    host: Annotated[
        str | None,
        typer.Option("--host", help="Address to listen on; any but this machine's needs a token."),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Ask every request for the token in this file."),
    ] = None,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Serve deployed models, runs and bases to chat clients of Ollama and OpenAI; Ctrl-C stops.

    Example: fine-tuning serve --port 11435, then OLLAMA_HOST=127.0.0.1:11435 for the client
    """
    bench = open_workbench(home, config, overrides)
    bench.serve(host=host, port=port, token_file=token_file, started=_tell)
    say("Stopped.")


def _tell(served: ServedAt) -> None:
    shown = ", ".join(served.models[:SHOWN_MODELS]) or "none yet"
    more = len(served.models) - SHOWN_MODELS
    say(f"Models: {shown}" + (f" and {more} more" if more > 0 else ""))
    say(f"Ollama's interface at {served.url}, OpenAI's at {served.url}/v1; Ctrl-C stops.")
    if served.token_file:
        say(f"Requests bring the header 'Authorization: Bearer <token>'; see {served.token_file}.")
