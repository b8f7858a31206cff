"""The program of one check that loads torch or a model.

The order comes on standard input, a JSON object. The answer goes to standard output, a JSON object
a line: ``progress`` as long as it works, then ``answer`` or ``error``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import FineTuningError
from fine_tuning.workbench.process import limit_spinning


def main(order: str) -> int:
    """Do a check and tell what was found; return the exit code."""
    raw = json.loads(order)
    limit_spinning()
    try:
        _say({"answer": _checked(raw)})
    except FineTuningError as error:
        _say({"error": error.message, "next_command": error.next_command})
        return error.exit_code
    return 0


def _checked(raw: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    # Loads torch: what comes before answers at once.
    from fine_tuning.workbench.doctor.diagnostics import engine_facts, parity_reports  # noqa: PLC0415
    from fine_tuning.workbench.workbench import Workbench  # noqa: PLC0415

    if raw["kind"] == "engine":
        return engine_facts()
    settings = Settings.model_validate(raw["settings"])
    workspace = Workspace.open(Path(raw["home"]), settings)
    bench = Workbench(settings, workspace, _tell)
    if raw["kind"] == "parity":
        return [
            report.to_dict()
            for report in parity_reports(bench.context, bench.models.bases, raw["base"])
        ]
    return [finding.to_dict() for finding in bench.train.preflight.check()]


def _tell(what: str, done: int, total: int) -> None:
    _say({"progress": [what, done, total]})


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read()))
