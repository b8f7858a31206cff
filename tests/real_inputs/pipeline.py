"""The way of a file through import, cleaning and export, as a user goes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.json_value import JsonObject
from fine_tuning.workbench.workbench import Workbench

INPUTS = Path(__file__).parent / "inputs"


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A workspace after import, cleaning and export; ``records`` are those of ``chatml.jsonl``."""

    bench: Workbench
    records: list[dict[str, Any]]

    @property
    def turns(self) -> list[list[tuple[str, str]]]:
        """(role, text) of each record's messages."""
        return [
            [(m["role"], _text(m.get("content", ""))) for m in record["messages"]]
            for record in self.records
        ]

    @property
    def learnt(self) -> list[list[str]]:
        """The replies of each record that are trained on."""
        return [
            [
                _text(m.get("content", ""))
                for m in record["messages"]
                if m["role"] == "assistant" and m.get("weight", 1) and m.get("content")
            ]
            for record in self.records
        ]


def workbench(home: Path, **sections: JsonObject) -> Workbench:
    """Return the workbench of a new workspace; settings by section."""
    settings = Settings.model_validate(sections)
    return Workbench(settings, Workspace.open(home, settings))


def cleaned(home: Path, *files: Path, **sections: JsonObject) -> Cleaned:
    """Import files into a new workspace, clean and export."""
    bench = workbench(home, **sections)
    for file in files:
        bench.data.importer.import_file(file)
    exports = bench.data.export()
    lines = exports["chatml"].read_text(encoding="utf-8").splitlines()
    return Cleaned(bench, [json.loads(line) for line in lines])


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    assert isinstance(content, list)
    return "".join(part.get("text", "") for part in content)
