"""The prompts of training are those of the user's server, and so are a version's there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.core.ports import GREEDY
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import ValueType
from fine_tuning.gguf.values import StringArray, TypedValue
from fine_tuning.runtimes.base_prompts import base_prompts
from fine_tuning.runtimes.prompt_record import BasePrompts
from fine_tuning.storage.open_store import open_store
from fine_tuning.workbench.base_models import PROMPTS_KEY
from fine_tuning.workbench.prompt_choice import decided_prompts
from fine_tuning.workbench.workbench import Workbench
from tests.ollama_stand_in.server import StandIn
from tests.runtimes.models import ask, model_path
from tests.workbench.trained import NAME, Trained, write_trained

TEMPLATE_KEY = "tokenizer.chat_template"
INST = "[INST] {{ if .System }}{{ .System }} {{ end }}{{ .Prompt }} [/INST]"
GEMMA = (
    "<start_of_turn>user\n{{ if .System }}{{ .System }} {{ end }}{{ .Prompt }}<end_of_turn>\n"
    "<start_of_turn>model\n{{ .Response }}<end_of_turn>\n"
)
CHATML = (
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n"
)
NOWHERE = "http://127.0.0.1:9"
SYSTEM = "Answer like a pirate."
STOP = '{"stop": ["[INST]", "[/INST]"]}'


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@contextmanager
def scene(
    folder: Path,
    generation: str = "0.33.0",
    *,
    without: str = TEMPLATE_KEY,
    changes: Mapping[str, Any] | None = None,
    **layers: str,
) -> Iterator[tuple[StandIn, Trained]]:
    """Yield a server with a base, by default one whose file has no template."""
    trained = write_trained(folder, name=NAME, without=without, **(changes or {}))
    with pytest.MonkeyPatch.context() as patch, StandIn(folder, generation=generation) as server:
        patch.setenv("OLLAMA_MODELS", str(server.root))
        server.add_model(NAME, trained.base, **layers)
        yield server, trained


def tokens_of_gemma() -> dict[str, Any]:
    """Return the embedded model's tokens with Gemma's names for the marks of a turn."""
    names = {"<|im_start|>": "<start_of_turn>", "<|im_end|>": "<end_of_turn>"}
    with GgufFile.open(model_path()) as model:
        tokens = [names.get(one, one) for one in model.get("tokenizer.ggml.tokens", StringArray)]
    array = TypedValue(StringArray.encode(tokens), ValueType.ARRAY)
    return {"tokenizer__ggml__tokens": array}


def record_chats(bench: Workbench, count: int = 12) -> None:
    store = open_store(bench.context.workspace.conversations)
    for number in range(count):
        turns = [
            ("user", f"Tell me about the number {number}, please."),
            ("assistant", f"The number {number} follows {number - 1} and is followed by others."),
        ]
        store.append(Conversation.from_turns(turns, id=f"c{number}"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("generation", "template", "way", "before"),
    [
        ("0.24.0", INST, "adapter", "[INST] Answer like a pirate. Hi [/INST]"),
        ("0.33.0", GEMMA, "adapter",
         "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"),
        ("0.34.2", INST, "mixed", "[INST] Answer like a pirate. Hi [/INST]"),
    ],
)  # fmt: skip
def test_a_base_with_a_template_alone_is_trained_and_deployed_with_it(
    tmp_path: Path, generation: str, template: str, way: str, before: str
) -> None:
    system = SYSTEM if SYSTEM in before else ""
    layers = {"template": template, "params": STOP, **({"system": system} if system else {})}
    changes = tokens_of_gemma() if template == GEMMA else None
    with scene(tmp_path, generation, changes=changes, **layers) as (server, trained):
        bench = trained.bench(server.url)
        base = bench.models.bases.with_prompts(bench.models.bases.find())
        assert base.prompts == BasePrompts(go=template, system=system, stop=("[INST]", "[/INST]"))
        with bench.models.bases.open(base) as opened:
            assert opened.prompt(ask("Hi")) == before
        trained.add_run(prompts=base.prompts.to_dict())
        done = bench.models.deployment.deploy(switch=False).deployed
        assert done.way == way
        assert done.proof["parts"][0]["outcome"] == "holds"
        assert {part["outcome"] for part in done.proof["parts"]} == {"holds"}
        assert bench.models.modelfiles.find(done.version).read_text().count("TEMPLATE") == 1


def test_the_templates_prompts_are_recorded_and_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with scene(tmp_path, without="", template=INST) as (_, trained):
        bench = trained.bench(NOWHERE)
        record_chats(bench)
        with caplog.at_level(logging.WARNING):
            snapshot = bench.data.prepare()
        assert "is trained on the prompts of Ollama's TEMPLATE" in caplog.text
        assert INST in snapshot.manifest["base_model"][PROMPTS_KEY]
        (mask,) = bench.data.reporter.masks(snapshot, 1, ansi=False)
        assert mask.startswith("[INST] Tell me about the number ")
        assert ", please. [/INST][[The number " in mask
        assert "im_start" not in mask
        found = [one for one in bench.train.preflight.check() if one.check == "prompts"]
        assert "the file's own template would write other prompts" in found[0].title


def test_a_server_that_prefers_the_files_template_is_followed(tmp_path: Path) -> None:
    jinja = (
        "{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    trained = write_trained(tmp_path, name=NAME, tokenizer__chat_template=jinja)
    with pytest.MonkeyPatch.context() as patch, StandIn(tmp_path, generation="0.33.0") as server:
        patch.setenv("OLLAMA_MODELS", str(server.root))
        server.add_model(NAME, trained.base, template=INST)
        base = trained.bench(server.url).models.bases.find()
        online = decided_prompts(base, None, server.url, threads=1)
        assert online == BasePrompts()
        assert "the file's own template, which Ollama 0.33.0 sends" in online.remark
        offline = decided_prompts(base, None, NOWHERE, threads=1)
        assert offline.go == INST


def test_equal_templates_are_no_news(tmp_path: Path) -> None:
    jinja = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    changes = {"tokenizer__chat_template": jinja}
    with scene(tmp_path, without="", changes=changes, template=CHATML) as (server, trained):
        base = trained.bench(server.url).models.bases.find()
        prompts = decided_prompts(base, None, server.url, threads=1)
        assert (prompts.go, prompts.remark) == (CHATML, "")


def test_a_file_without_a_template_needs_the_users_choice(tmp_path: Path) -> None:
    trained = write_trained(tmp_path, without=TEMPLATE_KEY)
    bench = trained.bench()
    record_chats(bench)
    with pytest.raises(DataError, match=r"data_preparation\.chat_template=chatml") as caught:
        bench.data.prepare()
    assert len(caught.value.message.split(". ")) == 1
    assert not list((trained.home / "datasets").glob("b2-*"))
    chosen = trained.bench(data_preparation={"chat_template": "chatml"})
    (mask,) = chosen.data.reporter.masks(chosen.data.prepare(), 1, ansi=False)
    assert mask.startswith("<|im_start|>user\nTell me about")
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}>")
    own = trained.bench(data_preparation={"chat_template": str(file)})
    (mask,) = own.data.reporter.masks(own.data.prepare(), 1, ansi=False)
    assert mask.startswith("Tell me about")
    base = bench.models.bases.find()
    with pytest.raises(DataError, match="readable file"):
        base_prompts(base, str(tmp_path / "none.jinja"))


def test_a_renderer_of_ollamas_is_asked_or_stood_in_for(tmp_path: Path) -> None:
    with scene(tmp_path, without="", renderer="qwen3-coder") as (server, trained):
        base = trained.bench(server.url).models.bases.find()
        offline = decided_prompts(base, None, NOWHERE, threads=1)
        assert offline == BasePrompts()
        assert "RENDERER qwen3-coder" in offline.remark
        assert decided_prompts(base, None, server.url, threads=1) == BasePrompts()
    with scene(tmp_path / "bare", renderer="qwen3-coder") as (server, trained):
        base = trained.bench(server.url).models.bases.find()
        with pytest.raises(DataError, match="does not answer"):
            decided_prompts(base, None, NOWHERE, threads=1)
        asked = decided_prompts(base, None, server.url, threads=1)
        assert asked.asked == NAME
        with trained.bench(server.url).models.bases.open(base) as opened:
            assert opened.prompt(ask("Hi")).startswith("<|im_start|>user\nHi<|im_end|>")
            assert opened.chat_model.complete(ask("Hi"), GREEDY).text
