"""What a type checker sees of the public names; checked by mypy, never run."""

from __future__ import annotations

from typing import Any, assert_type

import fine_tuning
from fine_tuning import (
    Conversation,
    ConversationLogger,
    DataCleaner,
    DataExporter,
    FineTuningError,
    TrainingDataFormatter,
    Workbench,
    Workspace,
    load_settings,
)


def record(logger: ConversationLogger) -> str:
    return assert_type(logger.log_conversation("Hello?", "Hello."), str)


def tidy(conversations: list[Conversation], formatter: TrainingDataFormatter) -> None:
    cleaner = DataCleaner(min_length=10)
    assert_type(cleaner.clean(conversations).kept, list[Conversation])
    assert_type(formatter.create_training_pairs(conversations), list[dict[str, Any]])


def use(exporter: DataExporter, error: FineTuningError) -> str:
    bench = Workbench(load_settings(), Workspace.open())
    assert_type(bench, Workbench)
    assert_type(exporter, DataExporter)
    assert_type(fine_tuning.__version__, str)
    return assert_type(error.next_command, str)


def refuse() -> object:
    return fine_tuning.no_such_name  # type: ignore[attr-defined]
