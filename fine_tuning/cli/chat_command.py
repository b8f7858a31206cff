"""The chat command: talk to a model in the terminal; what is said is recorded, if you let it."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import Config, Home, Overrides, open_workbench
from fine_tuning.cli.output import remarks, say
from fine_tuning.core.errors import ConfigError, FineTuningError

if TYPE_CHECKING:
    from fine_tuning.data_collection.chat_session import ChatSession

HELP = "/good or /bad [why] rates the last reply, /fix TEXT corrects it, /new starts over, /quit"
app = typer.Typer()


@app.command()
def chat(
    model: Annotated[
        str | None,
        typer.Option("--model", help="Run, demo, or base model; default: newest run."),
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", help="Send one message and exit.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, help="Sampling; 0: most probable token.")
    ] = 0.0,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Chat with a base or tuned model in the terminal.

    Conversations are recorded in the workspace's log.

    Example: fine-tuning chat --model demo --message "When do we get paid?"
    """
    from fine_tuning.core.ports import Sampling

    bench = open_workbench(home, config, overrides)
    if message is not None and not message.strip():
        raise ConfigError(
            "the message is empty, expected something to ask",
            next_command='fine-tuning chat --message "When do we get paid?"',
        )
    with bench.models.access.open_chat(model) as server:
        session = bench.chat.session_with(server.chat_model, Sampling(temperature=temperature))
        if message is not None:
            _stream(session, message.encode(errors="replace").decode())
            return
        log = bench.context.workspace.conversations
        recording = f"recorded in {log}" if session.is_recording else "not recorded"
        say(f"Model: {session.model_name}; {recording}.")
        say(HELP)
        _take_any_bytes()
        while (line := _read_line()) is not None and _answer(session, line):
            pass


def _take_any_bytes() -> None:
    """Read bytes that are no text as replacement characters instead of failing."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")


def _answer(session: ChatSession, line: str) -> bool:
    """Answer one line; return whether the chat goes on. One failed turn does not end it."""
    try:
        if line.startswith("/"):
            return _command(session, line)
        if line:
            _stream(session, line)
    except FineTuningError as error:
        say(f"{error.message}. Shorten the message, or start over with /new.")
    return True


def _read_line() -> str | None:
    """Return what the user typed, or None at the end of input or on Ctrl-C."""
    try:
        return remarks.input("[bold green]you[/bold green] ").strip()
    except (EOFError, KeyboardInterrupt):
        say("")
        return None


def _stream(session: ChatSession, text: str) -> None:
    for piece in session.say(text):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    if session.broken_off:
        say(f"It broke off: {session.broken_off}. The reply is kept, and not trained on.")


def _command(session: ChatSession, line: str) -> bool:
    """Carry out a slash command; return whether the chat goes on."""
    word, _, rest = line.partition(" ")
    if word in ("/quit", "/exit"):
        return False
    if word == "/new":
        session.start_over()
        say("New conversation.")
    elif word in ("/good", "/bad"):
        done = session.rate(1 if word == "/good" else -1, reason=rest.strip())
        say("Feedback saved." if done else "There is no recorded reply to rate yet.")
    elif word == "/fix" and rest.strip():
        say(
            "Correction saved."
            if session.correct(rest.strip())
            else "There is no recorded reply to correct."
        )
    else:
        say(HELP)
    return True
