"""Which extra of the package brings a library, and the sentence that says it is not installed.

``pip install fine-tuning`` logs, cleans and exports. Every other library belongs to an extra; this
is the only table of them, and the surfaces (command line, public names) translate a failed import
by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

from fine_tuning.core.errors import MissingDependencyError

LIBRARIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "train": ("torch", "xllamacpp", "safetensors", "tokenizers", "huggingface_hub"),
        "evaluate": ("scipy", "sacrebleu", "rouge_score", "matplotlib"),
        "serve": ("starlette", "uvicorn", "xllamacpp"),
        "app": ("streamlit", "altair", "pandas"),
        "embed": ("wordllama",),
        "moderation": ("profanity_check", "profanex"),
        "lm-eval": ("lm_eval", "datasets"),
    }
)  # fmt: skip
"""Import names by extra, the most telling first. A library of two extras counts to the first."""

PURPOSES: Mapping[str, str] = MappingProxyType(
    {
        "matplotlib": "drawing charts",
        "tokenizers": "reading a tokenizer",
        "xllamacpp": "running a model without Ollama",
        "train": "training a model",
        "evaluate": "evaluating and comparing models",
        "serve": "serving models over HTTP",
        "app": "the pages in the browser",
        "embed": "similarity of meaning",
        "moderation": "classifying inappropriate content",
        "lm-eval": "lm-evaluation-harness",
    }
)
"""What a library, else its extra, is for: the beginning of "... needs torch"."""


def install_command(extra: str) -> str:
    """Return the command that installs an extra.

    Args:
        extra: A key of :data:`LIBRARIES`, or ``all``.

    Example:
        >>> install_command("train")
        "pip install 'fine-tuning[train]'"
    """
    return f"pip install 'fine-tuning[{extra}]'"


def missing_libraries(extra: str) -> tuple[str, ...]:
    """Return the libraries of an extra that are not installed; loads none of them."""
    return tuple(name for name in LIBRARIES[extra] if not _is_installed(name))


def require(extra: str, *libraries: str) -> None:
    """Go on only if the libraries of an extra are installed; loads none of them.

    Args:
        extra: A key of :data:`LIBRARIES`.
        *libraries: Those of its libraries that are needed; none named means all.

    Raises:
        MissingDependencyError: naming the first that is not, and the command that installs it.
    """
    wanted = libraries or LIBRARIES[extra]
    if missing := [name for name in missing_libraries(extra) if name in wanted]:
        raise _error(extra, missing[0])


def require_all(*extras: str) -> None:
    """Go on only if every library of several extras is installed; see :func:`require`.

    Args:
        *extras: Keys of :data:`LIBRARIES`.
    """
    for extra in extras:
        require(extra)


def missing_extra(error: ImportError) -> MissingDependencyError | None:
    """Return what a failed import means to a user.

    Args:
        error: What an ``import`` raised.

    Returns:
        The error that names the extra; None if the module is none of an extra's libraries, or its
        library is installed and fails for another reason.
    """
    library = (error.name or "").partition(".")[0]
    for extra, libraries in LIBRARIES.items():
        if library in libraries and not _is_installed(library):
            return _error(extra, library)
    return None


def _error(extra: str, library: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"{PURPOSES.get(library, PURPOSES[extra])} needs {library}, which is not installed",
        next_command=install_command(extra),
    )


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):
        return False
