"""Versions of a tiny chat model, deployed to a stand-in of Ollama: small enough to do it often."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fine_tuning.core.conversation import Message
from fine_tuning.core.naming import file_sha256
from fine_tuning.core.ports import Sampling, ServedModel
from fine_tuning.gguf.merge import merge_adapter
from fine_tuning.gguf.types import TensorType
from fine_tuning.model_management.deployment_target import Deployable
from fine_tuning.model_management.model_deployer import Deployer
from fine_tuning.model_management.model_switcher import ModelSwitcher
from fine_tuning.model_management.ollama_target import OllamaTarget
from fine_tuning.model_management.proof_parts import ENDING, OUTPUT, PROMPT, Proof, ProofPart
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.embedded_served import EmbeddedServedModel
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from tests.engine.tiny import LLAMA, write_tiny
from tests.model_management.registered import new_version, registry
from tests.runtimes.models import ask, model_path, normal, write_adapter
from tests.runtimes.vocabulary import first_tokens

BASE = "tiny:latest"
SERVED = "fine_tuned_support"
ALIAS = f"{SERVED}:champion"
VOCABULARY = 280
WORDS = Sampling(max_tokens=12)
QUESTIONS = tuple(ask(text) for text in ("Hello there.", "1 + 1?", "Name a colour."))
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GO_CHATML = (
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n"
    "{{ end }}<|im_start|>assistant\n"
)


def tokenizer() -> dict[str, Any]:
    """Return the byte tokens of a real vocabulary, and a chat template."""
    keys = first_tokens(model_path(), VOCABULARY)
    return keys | {"tokenizer.chat_template": CHATML}


def write_base(path: Path, *, seed: int = 0) -> Path:
    """Write the tiny model: random, with a voice of its own."""
    model = replace(LLAMA, vocabulary=VOCABULARY, is_tied=False)
    gains = {"output.weight": 8.0, "token_embd": 4.0}
    types = {"": TensorType.Q8_0}
    return write_tiny(path, model, types=types, seed=seed, gains=gains, metadata=tokenizer())


def write_tuning(path: Path, seed: int) -> Path:
    """Write an adapter that changes what the model says."""
    tensors = {}
    for index, (name, shape) in enumerate(
        {"blk.0.ffn_down": (64, 96), "blk.1.ffn_down": (64, 96), "blk.1.attn_output": (64, 64)}
        .items()
    ):  # fmt: skip
        tensors[f"{name}.weight.lora_a"] = normal(4, shape[1], seed=10 * seed + index)
        tensors[f"{name}.weight.lora_b"] = normal(shape[0], 4, seed=10 * seed + index + 5)
    return write_adapter(path, {k: np.ascontiguousarray(v) for k, v in tensors.items()}, alpha=8.0)


@dataclass(frozen=True)
class Home:
    """A workspace with a base and registered versions."""

    path: Path

    @property
    def base(self) -> Path:
        return self.path / "tiny.gguf"

    def adapter(self, number: int) -> Path:
        return self.path / f"adapter{number}.gguf"

    def add_version(self, number: int) -> str:
        write_tuning(self.adapter(number), number)
        new = new_version(
            self.path, f"run{number}", base_name=BASE, base_digest=file_sha256(self.base)
        )
        return registry(self.path).register(new).name

    def deployable(self, number: int, **changes: Any) -> Deployable:
        def merged(_way: Any, _progress: Any) -> Path:
            out = self.path / f"merged{number}.gguf"
            merge_adapter(self.base, self.adapter(number), out)
            return out

        def prompt(messages: Sequence[Message], tools: Sequence[Any] = ()) -> str:
            del tools
            turns = [f"<|im_start|>{m.role}\n{m.text}<|im_end|>\n" for m in messages]
            return "".join(turns) + "<|im_start|>assistant\n"

        made = Deployable(
            version=f"support:{number}",
            served_as=f"{SERVED}:{number}",
            base_name=BASE,
            base_path=self.base,
            base_digest=file_sha256(self.base),
            adapter=self.adapter(number),
            is_mergeable=False,
            merged=merged,
            prompt=prompt,
        )
        return replace(made, **changes)


def make_home(path: Path, versions: int = 2) -> Home:
    home = Home(path)
    path.mkdir(parents=True)
    write_base(home.base)
    for number in range(1, versions + 1):
        home.add_version(number)
    return home


def said_by(served: ServedModel) -> tuple[str, ...]:
    """Return what a served model says to three questions."""
    return tuple(served.complete(question, WORDS).text for question in QUESTIONS)


@contextmanager
def tuned(home: Home, number: int) -> Any:
    """Open the tuned model in this process; number 0 is the base."""
    adapter = home.adapter(number) if number else None
    with EmbeddedServer(home.base, adapter=adapter, context_tokens=256, threads=1) as server:
        yield EmbeddedServedModel(server)


_WORDS: dict[int, tuple[str, ...]] = {}


def words_of(home: Home, number: int) -> tuple[str, ...]:
    """Return what the tuned model says; it is the same in every home."""
    if number not in _WORDS:
        with tuned(home, number) as model:
            _WORDS[number] = said_by(model)
    return _WORDS[number]


def proof_by(words: Sequence[str]) -> Any:
    """Return a small proof: the same words to three questions, or nearly, and the same prompt."""

    def prove(served: ServedModel, base: ServedModel | None) -> Proof:
        assert base is None or base.name == BASE
        found = said_by(served)
        same = sum(a[:4] == b[:4] for a, b in zip(found, words, strict=False))
        holds = same >= len(words) - 1
        part = ProofPart(
            name=OUTPUT,
            outcome="holds" if holds else "fails",
            sentence=f"{same} of {len(words)} replies begin as those of the tuned model",
            cause="" if holds else "adapter_ignored",
        )
        others = [
            ProofPart(name=name, outcome="holds", sentence="left to the target")
            for name in (PROMPT, ENDING)
        ]
        return Proof(model=served.name, parts=(*others, part))

    return prove


def runtime(url: str) -> OllamaRuntime:
    return OllamaRuntime(OllamaClient(url))


def deployer(home: Home, url: str, words: Sequence[str]) -> Deployer:
    return Deployer(registry(home.path), OllamaTarget(runtime(url)), proof_by(words))


def switcher(home: Home, url: str) -> ModelSwitcher:
    ollama = runtime(url)
    return ModelSwitcher(registry(home.path), ollama, runtime_name=ollama.name)


def deploy_and_switch(path: Path, url: str, number: int, words: tuple[str, ...]) -> None:
    """Deploy a version and give it to the chatbot: what the kill tests kill."""
    home = Home(path)
    deployer(home, url, words).deploy(home.deployable(number))
    switcher(home, url).switch(f"support:{number}")


def roll_back(path: Path, url: str) -> None:
    """Go back to the version before: what the kill tests kill, too."""
    switcher(Home(path), url).rollback("support")
