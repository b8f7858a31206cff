"""The trained model as the engine computes it, for proofs (model_management.reference.Reference).

Prompts and token ids come from the embedded runtime, as they did when the data set was made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.data_preparation.masking import ExampleTokenizer
from fine_tuning.model_management.reference import Followed, FollowedToken
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.prompt_record import BasePrompts

if TYPE_CHECKING:
    from fine_tuning.engine.decoder import Decoder
    from fine_tuning.engine.lora import LoraAdapter

# What lies beyond the likeliest tokens counts as one; these hold nearly all of the probability.
FIRST_TOKENS = 200
MAX_TOKENS = 1 << 16
CONTEXT_TOKENS = 2048


class EngineReference:
    """The trained model.

    Args:
        decoder: The base it was trained on.
        adapter: What was trained.
        server: The embedded runtime with that base, for template and tokenizer.
    """

    def __init__(self, decoder: Decoder, adapter: LoraAdapter, server: EmbeddedServer) -> None:
        self._decoder = decoder
        self._adapter = adapter
        self._renderer = server.renderer
        self._tokenizer = server.tokenizer
        self._examples = ExampleTokenizer(server.tokenizer, server.renderer, max_length=MAX_TOKENS)
        self._texts: dict[int, str] = {}
        self._read: dict[tuple[str, ...], tuple[list[int], int]] = {}

    @property
    def end_of_turn(self) -> str:
        """The text of the trained end of turn."""
        return self._examples.ending.end

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """Return the prompt of messages, generation prompt included.

        Args:
            messages: In the order of the conversation.
            tools: Definitions of the tools the prompt offers.

        Raises:
            DataError: if the template refuses the order of roles.
        """
        return self._renderer.render(messages, add_generation_prompt=True, tools=tools)

    def count_tokens(self, prompt: str) -> int:
        """Return how many tokens a prompt has, those added at its start included."""
        return len(self._tokenizer.encode(prompt, add_special=True, parse_special=True))

    def reads(self, messages: Sequence[Message], longest_tokens: int) -> bool:
        """Tell whether a prompt can be proven with: text only, and not too long.

        Args:
            messages: In the order of the conversation.
            longest_tokens: The most tokens the prompt may have.
        """
        try:
            return self.count_tokens(self.prompt(messages)) <= longest_tokens
        except DataError:
            return False

    def follow(self, messages: Sequence[Message], reply: str, *, scale: float = 1.0) -> Followed:
        """Read a reply to messages; with "" only the first token is predicted.

        Args:
            messages: What the reply answers.
            reply: Its text.
            scale: Factor of the adapter; 0 is the bare base.

        Returns:
            Natural log-probabilities of the first tokens, the reply and its end.
        """
        from fine_tuning.engine.teacher_forcing import follow_reply  # noqa: PLC0415 - torch is slow to load

        ids, start = self._ids(messages, reply)
        adapter = _scaled(self._adapter, scale)
        read = follow_reply(
            self._decoder,
            adapter,
            ids,
            start=start,
            stop=self._examples.end_ids[0],
            top=FIRST_TOKENS,
        )
        self._learn_texts([token for token in ids[start:] if token not in self._texts])
        tokens = zip(
            map(self._texts.__getitem__, ids[start:]), read.said, read.best[:-1], strict=True
        )
        return Followed(
            first=self._first(read.first),
            tokens=tuple(FollowedToken(*token) for token in tokens),
            stop_log_probabilities=read.stop,
            stop=FollowedToken(self.end_of_turn, read.stop[-1], read.best[-1]),
        )

    def _ids(self, messages: Sequence[Message], reply: str) -> tuple[list[int], int]:
        """Return the ids of prompt and reply, without end of turn, and where the reply begins."""
        key = (*(f"{message.role}:{message.text}" for message in messages), reply)
        if key not in self._read:
            self._read[key] = self._tokenized(messages, reply)
        return self._read[key]

    def _tokenized(self, messages: Sequence[Message], reply: str) -> tuple[list[int], int]:
        turns = (*messages, Message(id="reply", role="assistant", content=(Part(text=reply),)))
        example = Example(conversation_id="", messages=turns, targets=(len(messages),))
        done = self._examples.tokenize(example)
        if len(done.sequences) != 1:
            reasons = ", ".join(drop.reason for drop in done.drops) or "it became several sequences"
            raise DataError(
                f"a reply of the proof cannot be read as it would be trained on: {reasons}",
                next_command="fine-tuning doctor --parity",
            )
        sequence: TokenizedExample = done.sequences[0]
        start = sequence.mask.index(1)
        return list(sequence.ids[: len(sequence.ids) - len(self._examples.end_ids)]), start

    def _first(self, likeliest: Iterable[tuple[int, float]]) -> dict[str, float]:
        """Return tokens by text; tokens with the same text count together."""
        found: dict[str, float] = {}
        pairs = list(likeliest)
        self._learn_texts([token for token, _ in pairs if token not in self._texts])
        for token, value in pairs:
            text = self._texts[token]
            found[text] = math.log(math.exp(found.get(text, -math.inf)) + math.exp(value))
        return found

    def _learn_texts(self, tokens: Sequence[int]) -> None:
        """Decode tokens, all at once, each after an end of turn that tells them apart.

        A token's text within a text is what a server tells; at a beginning it may lack its space.
        """
        mark = self._examples.end_ids[0]
        self._texts[mark] = between = self._tokenizer.decode([mark])
        others = [token for token in tokens if token != mark]
        joined = self._tokenizer.decode([token for one in others for token in (mark, one)])
        texts = joined.split(between)[1:]
        if len(texts) != len(others):  # an end of turn that is no token of its own
            texts = [self._tokenizer.decode([token]) for token in others]
        self._texts.update(zip(others, texts, strict=True))


def _scaled(adapter: LoraAdapter, scale: float) -> LoraAdapter | None:
    """Return the adapter so many times as strong; None for the bare base."""
    from fine_tuning.engine.lora import LoraAdapter  # noqa: PLC0415 - torch is slow to load

    if not scale:
        return None
    return LoraAdapter(
        adapter.pairs,
        rank=adapter.rank,
        alpha=adapter.alpha * scale,
        use_rslora=adapter.use_rslora,
    )


@contextmanager
def open_reference(
    base_path: Path,
    adapter_path: Path,
    *,
    chat_template: str | None = None,
    system: str = "",
    threads: int | None = None,
    prompts: BasePrompts | None = None,
) -> Iterator[EngineReference]:
    """Open the trained model for a proof.

    Args:
        base_path: The base it was trained on.
        adapter_path: The trained adapter, GGUF.
        chat_template: The Jinja template it was trained with; None takes the model's own.
        system: The system prompt the base brings.
        threads: llama.cpp's threads; None takes its choice.
        prompts: What wrote the prompts, in place of ``chat_template`` and ``system``.

    Raises:
        FineTuningError: as the engine and the embedded runtime raise.
    """
    from fine_tuning.engine.adapter_files import read_gguf_adapter  # noqa: PLC0415 - torch is slow to load
    from fine_tuning.engine.decoder import Decoder  # noqa: PLC0415 - torch is slow to load

    adapter = read_gguf_adapter(adapter_path)
    with (
        EmbeddedServer(
            base_path,
            context_tokens=CONTEXT_TOKENS,
            threads=threads,
            chat_template=chat_template,
            system=system,
            prompts=prompts,
        ) as server,
        Decoder.open(base_path) as decoder,
    ):
        yield EngineReference(decoder, adapter, server)
