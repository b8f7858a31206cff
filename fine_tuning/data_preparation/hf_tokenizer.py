"""Tokenizer and chat template of a Hugging Face model folder, as the two ports say it.

Reads ``tokenizer.json``, or GPT-2's ``vocab.json`` and ``merges.txt``; templates from
``chat_template.jinja`` or ``tokenizer_config.json``, in a sandbox. Runs no code of the folder, and
does not know where folders come from (``hf_hub.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError, ModelNotFoundError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.core.template_message import template_message

GPT2_END = "<|endoftext|>"
TOKENIZER_FILES: tuple[str, ...] = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""Every file of a model folder this module reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HfFiles:
    """What a folder says beside the vocabulary: ``bos`` and ``eos`` as text, "" for none."""

    folder: Path
    bos: str
    eos: str
    chat_template: str

    @classmethod
    def read(cls, folder: Path) -> HfFiles:
        """Read the small JSON files of a folder.

        Raises:
            ModelNotFoundError: if the folder holds no tokenizer.
            DataError: if a file in it is not the JSON it should be.
        """
        if not has_tokenizer(folder):
            raise ModelNotFoundError(
                f"{folder} holds no tokenizer, expected tokenizer.json, "
                "or vocab.json and merges.txt",
                next_command="name a folder that a Hugging Face tokenizer was saved to",
            )
        config = _read_json(folder / "tokenizer_config.json")
        special = _read_json(folder / "special_tokens_map.json")
        eos = _token_text(config, "eos_token") or _token_text(special, "eos_token")
        if not eos and GPT2_END in _read_json(folder / "vocab.json"):
            eos = GPT2_END
        return cls(
            folder=folder,
            bos=_token_text(config, "bos_token") or _token_text(special, "bos_token"),
            eos=eos,
            chat_template=_chat_template(folder, config),
        )


class HfTokenizer:
    """A folder's tokenizer (core.ports.Tokenizer); truncation and padding in it are switched off.

    Args:
        folder: A folder with ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``.

    Raises:
        ModelNotFoundError: if the folder holds no tokenizer.
        DataError: if its files cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.files = HfFiles.read(folder)
        self._parsing = _load(self.files)
        # A copy, because how special tokens are read is a state of the tokenizer, not an argument.
        self._plain = RustTokenizer.from_str(self._parsing.to_str())
        self._plain.encode_special_tokens = True
        self._start = _start_ids(self._parsing)
        self._fingerprint = content_name(
            ["hf tokenizer 1", json.loads(self._parsing.to_str()), self._start]
        )

    @property
    def fingerprint(self) -> str:
        """The content name of vocabulary and rules."""
        return self._fingerprint

    @property
    def start_text(self) -> str:
        """What ``add_special`` puts before a text, as text; "" for nothing."""
        return self.decode(self._start)

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Return token ids.

        Args:
            text: Any text.
            add_special: Add what the model expects at a sequence's start (BOS), if anything;
                what a folder would add at the end is left out, since more is to follow.
            parse_special: Read special tokens' text as those tokens.

        Raises:
            DataError: if the text is not valid Unicode.
        """
        tokenizer = self._parsing if parse_special else self._plain
        try:
            ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        except TypeError as error:  # what the Rust library makes of a lone surrogate
            raise DataError(
                f"a text of {len(text)} characters holds half of a surrogate pair "
                f"({_first_surrogate(text)}), expected valid Unicode"
            ) from error
        return [*self._start, *ids] if add_special else ids

    def encode_many(self, texts: Sequence[str], *, parse_special: bool) -> list[list[int]]:
        """Return the ids of each text by itself.

        Raises:
            DataError: if a text is not valid Unicode.
        """
        return [self.encode(text, add_special=False, parse_special=parse_special) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens included."""
        return str(self._parsing.decode(list(ids), skip_special_tokens=False))


class HfRenderer:
    """A folder's chat template (core.ports.PromptRenderer).

    Without a template, turns are joined by the end-of-text token and roles are left out: what
    DialoGPT was trained on (arXiv 1911.00536, section 3.1).

    Args:
        tokenizer: The folder's tokenizer; a BOS it adds is left out of the rendering, as
            llama.cpp does (common/chat.cpp), so that there are never two.

    Raises:
        DataError: if the template is no valid Jinja, or there is neither template nor end-of-text
            token.
    """

    def __init__(self, tokenizer: HfTokenizer) -> None:
        self._files = tokenizer.files
        self._start_text = tokenizer.start_text
        self._template = _compile(self._files) if self._files.chat_template else None
        if self._template is None and not self._files.eos:
            raise DataError(
                f"{self._files.folder} has neither a chat template nor an end-of-text token, "
                "expected one of them to end turns with",
                next_command="add a chat_template to its tokenizer_config.json",
            )
        self._fingerprint = content_name(
            ["hf jinja 2", self._files.chat_template, self._files.bos, self._files.eos]
        )

    @property
    def fingerprint(self) -> str:
        """The content name of template and rules."""
        return self._fingerprint

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool,
        tools: Sequence[JsonObject] = (),
    ) -> str:
        """Return the prompt text, without the BOS the tokenizer adds.

        Args:
            messages: The conversation.
            add_generation_prompt: Begin the assistant's turn at the end.
            tools: What the model may call, in OpenAI's form; a template may know none.

        Raises:
            DataError: if there is no message, one holds something other than text, or the
                template refuses the messages.
        """
        if not messages:
            raise DataError("there is no message to render, expected at least one")
        for message in messages:
            if any(part.type != "text" for part in message.content):
                raise DataError(f"a {message.role} message holds more than text")
        if self._template is None:
            return "".join(message.text + self._files.eos for message in messages)
        try:
            text = self._template.render(
                messages=[template_message(message, message.text) for message in messages],
                tools=[dict(tool) for tool in tools] or None,
                add_generation_prompt=add_generation_prompt,
                bos_token=self._files.bos,
                eos_token=self._files.eos,
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            roles = ", ".join(message.role for message in messages)
            raise DataError(
                f"the chat template of {self._files.folder} refuses messages with the roles "
                f"{roles}: {error}"
            ) from error
        return text.removeprefix(self._start_text)


def _first_surrogate(text: str) -> str:
    return next((ascii(letter) for letter in text if "\ud800" <= letter <= "\udfff"), "none found")


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a folder holds a tokenizer this module reads."""
    gpt2 = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return (folder / "tokenizer.json").is_file() or gpt2


def _load(files: HfFiles) -> RustTokenizer:
    folder = files.folder
    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = RustTokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            tokenizer = _byte_level(files)
    except Exception as error:  # the Rust library raises plain Exception
        raise DataError(f"the tokenizer in {folder} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _byte_level(files: HfFiles) -> RustTokenizer:
    """Build GPT-2's tokenizer from its two old files."""
    folder = files.folder
    model = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = RustTokenizer(model)
    config = _read_json(folder / "tokenizer_config.json")
    space = bool(config.get("add_prefix_space", False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.decoder = decoders.ByteLevel()
    added = sorted(
        _read_json(folder / "added_tokens.json").items(), key=lambda item: int(str(item[1]))
    )
    tokenizer.add_tokens([text for text, _ in added])
    tokenizer.add_special_tokens([text for text in dict.fromkeys((files.bos, files.eos)) if text])
    return tokenizer


def _start_ids(tokenizer: RustTokenizer) -> list[int]:
    """Return the ids the folder's post-processor puts before a text."""
    plain: list[int] = tokenizer.encode("a", add_special_tokens=False).ids
    whole: list[int] = tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    return []


def _compile(files: HfFiles) -> Template:
    """Compile a template as ``transformers`` does (utils/chat_template_utils.py)."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).astimezone().strftime(form)
    try:
        return environment.from_string(files.chat_template)
    except TemplateError as error:
        raise DataError(
            f"the chat template of {files.folder} is no valid Jinja: {error}"
        ) from error


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)


def _to_json(value: object, indent: int | None = None) -> str:
    """Write JSON without Jinja's HTML escapes, which would end up in prompts."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _chat_template(folder: Path, config: JsonObject) -> str:
    """Return the default template: the newer file first, as ``transformers`` does."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {item.get("name"): item.get("template") for item in found}
        found = named.get("default") or next(iter(named.values()), None)
    return found if isinstance(found, str) else ""


def _token_text(config: JsonObject, key: str) -> str:
    """Return a special token's text, written as a string or as an object."""
    value = config.get(key)
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else ""


def _read_json(path: Path) -> dict[str, JsonValue]:
    """Return a JSON object; {} when there is no such file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}, expected an object")
    return value
