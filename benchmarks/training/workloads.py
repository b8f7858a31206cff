"""The workloads of the training benchmark: real text, tokenized once, the same for every arm.

A workload is batches of sequences (``ids``, and ``mask`` with 1 where a token is learnt) and
held-out sequences. All replies of a chat are learnt, as the product does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.real_text import chitchat_conversations
from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.example import Example
from fine_tuning.core.ports import Tokenizer
from fine_tuning.data_preparation.masking import ExampleTokenizer
from fine_tuning.runtimes.embedded import EmbeddedServer

BATCH_SIZE = 8
NUM_HELD_OUT = 64
MAX_TOKENS = 1024
SYSTEM_PROMPT_TOKENS = 300
SYSTEM_PROMPT = "system prompt"
LENGTHS = {
    "short": (90, 180),
    "ragged": (30, 1000),
    SYSTEM_PROMPT: (90, 180),
    "multi-turn": (300, 600),
}
"""Least and most tokens of a chat, without the shared system prompt; ``ragged`` is log-normal."""


def make_workload(name: str, model: Path, num_batches: int) -> dict[str, Any]:
    """Return a workload.

    Args:
        name: One of :data:`LENGTHS`; ``system prompt`` puts the same 300 tokens before every chat.
        model: The GGUF file whose tokenizer and template are used.
        num_batches: Optimizer steps.
    """
    random = Random(name)  # lengths, not secrets
    count = num_batches * BATCH_SIZE + NUM_HELD_OUT
    with EmbeddedServer(model, context_tokens=2048) as server:
        tokenizer = ExampleTokenizer(server.tokenizer, server.renderer, max_length=MAX_TOKENS)
        system = _system_prompt(server.tokenizer) if name == SYSTEM_PROMPT else ""
        sequences = []
        for example in _examples(name, system, random):
            kept = tokenizer.tokenize(example).sequences
            if len(kept) == 1 and kept[0].num_targets:
                bits = [int(bit) for bit in kept[0].mask]
                sequences.append({"ids": list(kept[0].ids), "mask": bits})
            if len(sequences) == count:
                break
    held_out, rest = sequences[:NUM_HELD_OUT], sequences[NUM_HELD_OUT:]
    if name == "ragged":
        # Every trainer can group by length, and padding costs TRL least so.
        rest.sort(key=lambda sequence: len(sequence["ids"]))
    batches = [rest[i : i + BATCH_SIZE] for i in range(0, len(rest), BATCH_SIZE)]
    random.shuffle(batches)
    return {"name": name, "batches": batches, "held_out": held_out}


def _system_prompt(tokenizer: Tokenizer) -> str:
    """Return as much of Chit-Chat's first chats as makes about 300 tokens."""
    said = chain.from_iterable(islice(_chats(), 100))
    words = " ".join(message.text for message in said).split()

    def size(count: int) -> int:
        text = " ".join(words[:count])
        return len(tokenizer.encode(text, add_special=False, parse_special=False))

    return " ".join(words[: next(n for n in range(100, 400) if size(n) >= SYSTEM_PROMPT_TOKENS)])


def _examples(name: str, system: str, random: Random) -> Iterator[Example]:
    """Yield chats cut, or strung together, to the workload's lengths."""
    turns = chain.from_iterable(_chats())
    least, most = LENGTHS[name]
    for number in range(10**9):
        if name == "ragged":
            wanted = min(most, max(least, random.lognormvariate(math.log(160), 0.8)))
        else:
            wanted = random.uniform(least, most)
        messages = [_message("system", system)] if system else []
        num_characters = 0
        # About four characters a token, and a few tokens of template a turn.
        while num_characters < 3.4 * wanted or messages[-1].role != "assistant":
            messages.append(next(turns))
            num_characters += len(messages[-1].text) + 20
        targets = tuple(i for i, m in enumerate(messages) if m.role == "assistant")
        yield Example(conversation_id=str(number), messages=tuple(messages), targets=targets)


def _chats() -> Iterator[list[Message]]:
    """Yield the chats as pairs of a question and a reply, over and over."""
    for chats in repeat(list(chitchat_conversations())):
        for chat in chats:
            even = len(chat.messages) // 2 * 2
            yield [_message(m.role, m.text) for m in chat.messages[:even]]


def _message(role: Any, text: str) -> Message:
    return Message(id="", role=role, content=(Part(text=text),))
