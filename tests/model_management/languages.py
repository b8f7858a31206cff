"""A tiny model of bytes, and adapters trained in a second to reply in a language.

Its vocabulary has no character beyond ASCII, so that each one is drawn in two to four tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.example import Example
from fine_tuning.data_preparation.masking import ExampleTokenizer
from fine_tuning.engine.adapter_files import write_gguf_adapter
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.step import accumulate_gradients
from fine_tuning.runtimes.embedded import EmbeddedServer
from tests.model_management.ollama_serving import CHATML
from tests.runtimes.models import ask

TOPICS = (
    "owls", "tea", "rain", "trains", "moon", "bread", "chess", "glass", "rivers", "salt",
    "clocks", "maps", "wool", "ferns", "bells", "kites",
)  # fmt: skip
PROMPTS = [ask(f"{topic}?") for topic in TOPICS]
RANK = 16
STEPS = 70
REPLIES = {
    "emoji": ("🌊🔥 🌵", "🎉🌊🌱", "🔥🎉 🌍"),
    "Chinese": ("北京很大。", "学习中文", "我喜欢茶"),
    "Japanese": ("東京です。", "お茶を飲む", "ありがとう"),
    "Korean": ("안녕하세요", "서울입니다", "차를 마셔요"),
    "Thai": ("สวัสดี", "ขอบคุณ", "น้ำชา"),
    "code": ("if x:\n            y", "for i:\n                z", "def f:\n        g"),
    "equal words": ("no " * 40,),
}  # fmt: skip


def train(base: Path, out: Path, replies: Sequence[str], *, seed: int = 0) -> Path:
    """Train an adapter that gives the replies, one after the other, to the prompts."""
    with EmbeddedServer(base, context_tokens=512, threads=1, chat_template=CHATML) as server:
        tokenizer = ExampleTokenizer(server.tokenizer, server.renderer, max_length=512)
        examples = []
        for index, prompt in enumerate(PROMPTS):
            reply = Message(
                id="r", role="assistant", content=(Part(text=replies[index % len(replies)]),)
            )
            example = Example(conversation_id="", messages=(*prompt, reply), targets=(1,))
            examples += tokenizer.tokenize(example).sequences
    with Decoder.open(base) as decoder:
        shapes = {
            name: (n_out, n_in)
            for layer in range(2)
            for name, n_out, n_in in (
                (f"blk.{layer}.ffn_down.weight", 64, 96),
                (f"blk.{layer}.attn_q.weight", 64, 64),
                (f"blk.{layer}.attn_output.weight", 64, 64),
                (f"blk.{layer}.ffn_up.weight", 96, 64),
            )
        }
        adapter = LoraAdapter.create(shapes, rank=RANK, alpha=float(RANK), seed=seed)
        optimizer = torch.optim.Adam(adapter.parameters(), lr=0.01)
        count = sum(sum(one.mask) for one in examples)
        for _ in range(STEPS):
            optimizer.zero_grad()
            accumulate_gradients(decoder, adapter, examples, coefficients=1 / count)
            optimizer.step()
    write_gguf_adapter(out, adapter, architecture="llama")
    return out
