"""Turns the chats a person has with a local chatbot into a measurably better local model.

The names in ``__all__`` are the public, stable ones; everything else is internal and may change
with any version. Each is loaded when it is first used, so that importing the package costs nothing.

Example:
    >>> import fine_tuning
    >>> logger = fine_tuning.ConversationLogger("conversations.jsonl")
    >>> reply_id = logger.log_conversation("What is AI?", "AI is artificial intelligence...")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fine_tuning.config.loader import load_settings
    from fine_tuning.config.workspace import Workspace
    from fine_tuning.core.conversation import Conversation, Message
    from fine_tuning.core.errors import FineTuningError
    from fine_tuning.data_collection.conversation_logger import ConversationLogger
    from fine_tuning.data_collection.data_cleaner import DataCleaner
    from fine_tuning.data_collection.data_export import DataExporter
    from fine_tuning.data_preparation.formatter import TrainingDataFormatter
    from fine_tuning.data_preparation.tokenizer import TokenizerUtils
    from fine_tuning.integration.ollama_integration import OllamaIntegration
    from fine_tuning.workbench.workbench import Workbench

__version__ = "0.2.0.dev0"

__all__ = [
    "Conversation",
    "ConversationLogger",
    "DataCleaner",
    "DataExporter",
    "FineTuningError",
    "Message",
    "OllamaIntegration",
    "TokenizerUtils",
    "TrainingDataFormatter",
    "Workbench",
    "Workspace",
    "__version__",
    "load_settings",
]

_MODULES = {
    "Conversation": "fine_tuning.core.conversation",
    "ConversationLogger": "fine_tuning.data_collection.conversation_logger",
    "DataCleaner": "fine_tuning.data_collection.data_cleaner",
    "DataExporter": "fine_tuning.data_collection.data_export",
    "FineTuningError": "fine_tuning.core.errors",
    "Message": "fine_tuning.core.conversation",
    "OllamaIntegration": "fine_tuning.integration.ollama_integration",
    "TokenizerUtils": "fine_tuning.data_preparation.tokenizer",
    "TrainingDataFormatter": "fine_tuning.data_preparation.formatter",
    "Workbench": "fine_tuning.workbench.workbench",
    "Workspace": "fine_tuning.config.workspace",
    "load_settings": "fine_tuning.config.loader",
}

if not TYPE_CHECKING:  # a type checker reads the imports above, and refuses any other name

    def __getattr__(name: str) -> object:
        """Load a public name at its first use.

        Raises:
            AttributeError: if there is no such name.
            MissingDependencyError: if it needs a library that is not installed.
        """
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - only when a name is used

        from fine_tuning.core.extras import missing_extra  # noqa: PLC0415 - as above

        try:
            value = getattr(import_module(_MODULES[name]), name)
        except ModuleNotFoundError as error:
            raise missing_extra(error) or error from error
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """Return the public names beside those every module has."""
        return sorted({*globals(), *__all__})
