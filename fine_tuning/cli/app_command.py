"""The command that opens the chatbot's pages in the browser."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import fine_tuning
from fine_tuning.cli.options import Shared, shared_options
from fine_tuning.cli.output import say
from fine_tuning.core.errors import ConfigError, FineTuningError
from fine_tuning.core.extras import require

# Found, not imported: a surface does not know another, and Streamlit runs it as a program.
PAGES = Path(fine_tuning.__file__).parent / "integration" / "app" / "main.py"
MAX_UPLOAD_MIB = 200
STOP_S = 10.0
LIGHT_ACCENT, DARK_ACCENT = "#0f766e", "#159a8c"
app = typer.Typer()


@app.command(name="app")
@shared_options(has_json=False)
def open_app(
    shared: Shared,
    host: Annotated[
        str, typer.Option("--host", help="Address; other machines need a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="TCP port.")] = 8501,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Do not open the browser.")
    ] = False,
    set_password: Annotated[
        bool, typer.Option("--set-password", help="Set the app's password, and exit.")
    ] = False,
) -> None:
    """Open the app in the browser; Ctrl-C stops it.

    Chat, give feedback, train, evaluate and switch models.

    Example: fine-tuning app
    """
    from fine_tuning.workbench.app_access import Access

    workspace = shared.workspace()
    access = Access(workspace.home)
    if set_password:
        say(f"Password set; its hash is stored in {access.set_password(_asked_password())}.")
        return
    require("app")
    access.require_password(host)
    shown = f"[{host}]" if ":" in host else host
    say(f"The app is at http://{shown}:{port}; Ctrl-C stops.")
    variables = {
        "FINE_TUNING_HOME": str(workspace.home),
        **_as_variables(shared.overrides),
    }
    if shared.config is not None:
        variables["FINE_TUNING_CONFIG"] = str(shared.config.absolute())
    _run(_command(host, port, no_browser=no_browser), variables)
    say("Stopped.")


def _command(host: str, port: int, *, no_browser: bool) -> list[str]:
    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": str(no_browser).lower(),
        "server.maxUploadSize": str(MAX_UPLOAD_MIB),
        "server.showEmailPrompt": "false",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "client.toolbarMode": "viewer",
        "runner.magicEnabled": "false",
        # Streamlit's red looks like an alarm.
        "theme.light.primaryColor": LIGHT_ACCENT,
        "theme.dark.primaryColor": DARK_ACCENT,
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(PAGES), *flags]


def _run(command: list[str], variables: dict[str, str]) -> None:
    """Run the pages until they end or the user does.

    Raises:
        FineTuningError: if they could not be started.
    """
    # In a session of its own, so that Ctrl-C reaches it once, through us.
    child = subprocess.Popen(  # noqa: S603 - this interpreter and our own file
        command, env={**os.environ, **variables}, start_new_session=True
    )
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    code = 0
    try:
        code = child.wait()
    except KeyboardInterrupt:
        _stop(child)
    finally:
        signal.signal(signal.SIGTERM, before)
    if code:
        raise FineTuningError(
            f"the app ended with code {code}, expected it to stay open until Ctrl-C",
            next_command="fine-tuning app --port 8502, if another program has the port",
        )


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGINT)
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _as_variables(overrides: Sequence[str]) -> dict[str, str]:
    """Return ``--set`` options as the environment variables that say the same."""
    pairs = (override.partition("=") for override in overrides)
    return {f"FINE_TUNING__{key.strip().upper().replace('.', '__')}": v for key, _, v in pairs}


def _asked_password() -> str:
    """Ask twice at a terminal; read one line when input comes from elsewhere.

    Raises:
        ConfigError: if the two differ.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Repeat the password: ") != first:
        raise ConfigError(
            "the two passwords differ, expected the same twice",
            next_command="fine-tuning app --set-password",
        )
    return first
