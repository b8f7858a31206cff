"""``TokenizerUtils``: one door to the tokenizer and chat template of any model a person can name.

A GGUF file, ``embedded`` and Ollama's models are tokenised by llama.cpp itself, so that training
sees the ids serving sees; Hugging Face folders and hub models by their own files. Which tokens are
learnt is decided in ``masking.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fine_tuning.core.closing import Closing
from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError, ModelNotFoundError, RuntimeUnavailableError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.ports import PromptRenderer, Tokenizer
from fine_tuning.core.token_estimate import estimate_tokens
from fine_tuning.data_preparation.hf_hub import cached_folder, download_folder, is_repo_name
from fine_tuning.data_preparation.hf_tokenizer import HfRenderer, HfTokenizer, has_tokenizer
from fine_tuning.data_preparation.masking import (
    DEFAULT_MAX_LENGTH,
    IGNORED_LABEL,
    ExampleTokenizer,
    Tokenization,
    show_mask,
    tokenize_example,
)
from fine_tuning.runtimes.base_model import BaseModel, resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer

__all__ = [
    "IGNORED_LABEL",
    "ExampleTokenizer",
    "HfRenderer",
    "HfTokenizer",
    "TokenizerUtils",
    "show_mask",
    "tokenize_example",
]

logger = logging.getLogger(__name__)

_SERVER_CONTEXT_TOKENS = 256  # only tokenises and renders, so the cache of keys can be small


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerSource:
    """Where a tokenizer comes from: a GGUF model, or a Hugging Face folder."""

    kind: Literal["gguf", "huggingface"]
    path: Path
    model: BaseModel | None = None


class TokenizerUtils(Closing):
    """Tokenises conversations for one model.

    The model is opened at the first use and closed by :meth:`close` or the end of a ``with``.

    Args:
        name: A ``.gguf`` file, ``embedded``, an Ollama name such as ``mistral:7b-instruct-q4_0``,
            a folder with a Hugging Face tokenizer, or a hub name such as
            ``microsoft/DialoGPT-medium`` (looked up in the local cache and in Ollama's store
            before the hub is asked).
        max_length: The longest sequence, in tokens; what is longer is cut, see
            :class:`~fine_tuning.data_preparation.masking.ExampleTokenizer`.
        chat_template: A Jinja chat template for a GGUF model; None takes the model's own, else
            ChatML.

    Raises:
        ModelNotFoundError: if the name leads nowhere.
        FineTuningError: a subclass of it, if a model was found and cannot be used.
    """

    def __init__(
        self,
        name: str,
        *,
        max_length: int = DEFAULT_MAX_LENGTH,
        chat_template: str | None = None,
    ) -> None:
        self.name = name
        self.max_length = max_length
        self.source = find_tokenizer(name)
        self._chat_template = chat_template
        self._open = ExitStack()
        self._ports: tuple[Tokenizer, PromptRenderer] | None = None
        self._examples: ExampleTokenizer | None = None
        self._is_closed = False

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._load()[0]

    @property
    def renderer(self) -> PromptRenderer:
        """The model's chat template."""
        return self._load()[1]

    @property
    def example_tokenizer(self) -> ExampleTokenizer:
        """What turns examples into ids and masks for this model."""
        if self._examples is None:
            tokenizer, renderer = self._load()
            self._examples = ExampleTokenizer(tokenizer, renderer, max_length=self.max_length)
        return self._examples

    def encode(
        self, text: str, *, add_special: bool = False, parse_special: bool = False
    ) -> list[int]:
        """Return the token ids of a text, plain text by default.

        Args:
            text: Any text.
            add_special: Add the tokens the model puts around a text (BOS, EOS), if it
                has any.
            parse_special: Read ``<|im_end|>`` and the like in the text as special
                tokens.

        Returns:
            Token ids of the model's vocabulary.
        """
        return self.tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens included.

        Args:
            ids: Token ids of the model's vocabulary.

        Returns:
            Their text, as :meth:`encode` would read it.
        """
        return self.tokenizer.decode(ids)

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text takes, without BOS.

        Args:
            text: Any text.

        Returns:
            The number of tokens.
        """
        return len(self.encode(text))

    @staticmethod
    def estimate_tokens(text: str) -> int:
        """Return about how many tokens a text takes, without any model.

        Close for English, Markdown and code (10 %); too low by up to 40 % for other languages in
        a vocabulary made for English.

        Args:
            text: Any text.

        Returns:
            The estimated number of tokens.
        """
        return estimate_tokens(text)

    def tokenize_conversation(self, user_msg: str, bot_response: str) -> dict[str, list[int]]:
        """Return one exchange as the model is trained on it.

        Args:
            user_msg: The person's words.
            bot_response: The chatbot's reply: what is trained on.

        Returns:
            ``input_ids``, ``attention_mask`` (all 1) and ``labels``, of equal length. ``labels``
            are the ids of the reply and of the end-of-turn token behind it, -100 elsewhere. What
            exceeds ``max_length`` is cut, with a warning.

        Raises:
            DataError: if nothing of the reply fits into ``max_length``, it is empty, or the chat
                template refuses the exchange.
        """
        conversation = Conversation.from_turns(
            [("user", user_msg), ("assistant", bot_response)], id="exchange"
        )
        if not bot_response.strip():
            raise DataError("the reply is empty, expected something to learn")
        example = Example(
            conversation_id=conversation.id, messages=conversation.messages, targets=(1,)
        )
        done = self.example_tokenizer.tokenize(example)
        if not done.sequences:
            raise _lost(done, self.max_length)
        if done.num_cut:
            logger.warning("a reply was cut: the exchange exceeds %d tokens", self.max_length)
        return _columns(done.sequences[0])

    def batch_tokenize(
        self, pairs: Iterable[tuple[str, str] | JsonObject], *, pad_to_longest: bool = False
    ) -> dict[str, list[list[int]]]:
        """Return :meth:`tokenize_conversation` of many exchanges, as one row each.

        Args:
            pairs: (user message, reply) pairs, or dictionaries with ``user_message`` and
                ``bot_response``.
            pad_to_longest: Fill rows up at their end to equal length, with id 0, attention 0 and
                label -100.

        Raises:
            DataError: as :meth:`tokenize_conversation`; the sentence names the index of the pair.
        """
        rows: list[dict[str, list[int]]] = []
        for index, pair in enumerate(pairs):
            try:
                rows.append(self.tokenize_conversation(*_texts(pair)))
            except DataError as error:
                raise DataError(
                    f"pair {index}: {error.message}", next_command=error.next_command
                ) from error
        longest = max((len(row["input_ids"]) for row in rows), default=0)
        fill = {"input_ids": 0, "attention_mask": 0, "labels": IGNORED_LABEL}
        return {
            key: [
                row[key] + [value] * (longest - len(row[key])) if pad_to_longest else row[key]
                for row in rows
            ]
            for key, value in fill.items()
        }

    def close(self) -> None:
        """Free the model; calling it again does nothing."""
        self._is_closed = True
        self._ports = self._examples = None
        self._open.close()

    def _load(self) -> tuple[Tokenizer, PromptRenderer]:
        if self._is_closed:
            raise RuntimeUnavailableError(f"tokenizer {self.name!r} was closed, expected it open")
        if self._ports is None:
            self._ports = self._start()
        return self._ports

    def _start(self) -> tuple[Tokenizer, PromptRenderer]:
        if self.source.kind == "huggingface":
            tokenizer = HfTokenizer(self.source.path)
            return tokenizer, HfRenderer(tokenizer)
        server = self._open.enter_context(
            EmbeddedServer(
                self.source.path,
                context_tokens=_SERVER_CONTEXT_TOKENS,
                chat_template=self._chat_template,
            )
        )
        return server.tokenizer, server.renderer


def find_tokenizer(name: str) -> TokenizerSource:
    """Return where the tokenizer of a name lies; asks the hub last, and only for hub names.

    Raises:
        ModelNotFoundError: if the name leads nowhere.
        FineTuningError: a subclass of it, if a model was found and cannot be used.
    """
    path = Path(name.strip()).expanduser()
    looks_like_path = path.is_absolute() or name.strip().startswith((".", "~"))
    if path.is_dir() and (looks_like_path or has_tokenizer(path)):
        return TokenizerSource(kind="huggingface", path=path)
    if folder := cached_folder(name.strip()):
        return TokenizerSource(kind="huggingface", path=folder)
    try:
        model = resolve_base_model(name)
    except ModelNotFoundError:
        may_be_hub_name = "/" in name and is_repo_name(name.strip()) and path.suffix != ".gguf"
        if not may_be_hub_name:
            raise
        return TokenizerSource(kind="huggingface", path=download_folder(name.strip()))
    return TokenizerSource(kind="gguf", path=model.path, model=model)


def _columns(tokenized: TokenizedExample) -> dict[str, list[int]]:
    """Return the three columns trainers know."""
    pairs = zip(tokenized.ids, tokenized.mask, strict=True)
    return {
        "input_ids": list(tokenized.ids),
        "attention_mask": [1] * len(tokenized.ids),
        "labels": [token if bit else IGNORED_LABEL for token, bit in pairs],
    }


def _texts(pair: tuple[str, str] | JsonObject) -> tuple[str, str]:
    if isinstance(pair, Mapping):
        texts = (pair.get("user_message"), pair.get("bot_response"))
    else:
        texts = tuple(pair) if isinstance(pair, list | tuple) else (None, None)  # type: ignore[assignment]
    if len(texts) != len(("user", "bot")) or not all(isinstance(text, str) for text in texts):
        raise DataError(
            "it is no (user message, reply) pair, expected two texts, or an object with "
            "'user_message' and 'bot_response'"
        )
    return str(texts[0]), str(texts[1])


def _lost(done: Tokenization, max_length: int) -> DataError:
    """Say why an exchange gave no sequence."""
    drop = done.drops[0]
    return DataError(
        f"exchange not trainable: {drop.reason} ({drop.detail or f'{max_length} tokens'})",
        next_command="shorten the texts, or raise data_preparation.max_length",
    )
