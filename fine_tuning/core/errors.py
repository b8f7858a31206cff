"""Every error a user can meet, drawn as a tree; each class owns one exit code.

    FineTuningError                     1  anything below, when nothing more exact is known
    ├── ConfigError                     2  a setting is unknown, of the wrong type or out of range
    ├── DataError                       3  conversations or data sets are missing, torn or too few
    ├── ModelNotFoundError              4  a model name or file leads nowhere
    ├── UnsupportedModelError           5  a model was found, and this engine cannot train it
    ├── GgufError                       6  a file is not a sound GGUF file
    ├── RuntimeUnavailableError         7  no server answers where one was expected
    ├── RuntimeFailedError              8  a server answered with an error
    ├── StorageError                    9  a file or database cannot be written or read
    ├── TrainingError                  10  a run cannot start, go on or resume
    ├── OutOfMemoryError               11  a run does not fit into memory
    ├── DeploymentError                12  a model was not deployed; the old state stands
    ├── MissingDependencyError         13  an optional package is not installed
    └── InterruptedRunError           130  the user pressed Ctrl-C; the run can be resumed

A message is one sentence: what was found, what was expected. ``next_command`` says what to do.
Only the surfaces (command line, page) turn an error into text and an exit code.
"""

from __future__ import annotations


class FineTuningError(Exception):
    """Base of all errors shown to users.

    Args:
        message: One sentence naming what was found and what was expected.
        next_command: A command or action that helps, shown on a line of its own; "" for none.
    """

    exit_code = 1

    def __init__(self, message: str, *, next_command: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_command = next_command

    def __str__(self) -> str:
        """Return the sentence, followed by the next command when there is one."""
        return f"{self.message}\nNext: {self.next_command}" if self.next_command else self.message


class ConfigError(FineTuningError):
    """A setting is unknown, of the wrong type or out of range."""

    exit_code = 2


class DataError(FineTuningError):
    """Conversations or data sets are missing, torn or too few."""

    exit_code = 3


class ModelNotFoundError(FineTuningError):
    """No model or file of that name exists."""

    exit_code = 4


class UnsupportedModelError(FineTuningError):
    """A model was found, and this engine cannot train it."""

    exit_code = 5


class GgufError(FineTuningError):
    """A file is not a sound GGUF file."""

    exit_code = 6


class RuntimeUnavailableError(FineTuningError):
    """No server answers where one was expected."""

    exit_code = 7


class RuntimeFailedError(FineTuningError):
    """A server answered with an error."""

    exit_code = 8


class StorageError(FineTuningError):
    """A file or database cannot be written or read."""

    exit_code = 9


class TrainingError(FineTuningError):
    """A run cannot start, go on or resume."""

    exit_code = 10


class OutOfMemoryError(FineTuningError):
    """A run does not fit into memory."""

    exit_code = 11


class DeploymentError(FineTuningError):
    """A model was not deployed; the old state stands."""

    exit_code = 12


class MissingDependencyError(FineTuningError):
    """An optional package is not installed."""

    exit_code = 13


class InterruptedRunError(FineTuningError):
    """The user pressed Ctrl-C; the run can be resumed."""

    exit_code = 130
