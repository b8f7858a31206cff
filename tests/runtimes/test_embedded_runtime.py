"""What the embedded runtime promises beyond the port's laws."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fine_tuning.core.errors import DeploymentError, ModelNotFoundError, StorageError
from fine_tuning.core.ports import ModelRecipe, Sampling
from fine_tuning.runtimes.embedded_runtime import ADAPTERS, RECIPE_FILE, EmbeddedRuntime
from tests.runtimes.models import ask, copy_model, model_path, write_adapter
from tests.runtimes.ollama_folder import OllamaFolder

SHORT = Sampling(max_tokens=12)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def runtime(tmp_path: Path) -> EmbeddedRuntime:
    return EmbeddedRuntime(tmp_path / "models", ollama_models=tmp_path / "ollama")


def said(runtime: EmbeddedRuntime, name: str) -> str:
    with runtime.open_chat(name, context_tokens=256) as server:
        return server.chat_model.complete(ask("Tell me about the sea."), SHORT).text


def test_the_adapter_is_kept_and_used(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter.gguf", alpha=64.0)
    runtime.create("base", ModelRecipe(base="embedded"))
    runtime.create("tuned", ModelRecipe(base="embedded", adapter=adapter))
    adapter.unlink()
    assert said(runtime, "tuned") != said(runtime, "base")


def test_a_model_keeps_its_settings(runtime: EmbeddedRuntime) -> None:
    recipe = ModelRecipe(
        base="embedded",
        system="Be a pirate.",
        parameters={"num_ctx": 768, "stop": "sea", "num_thread": 1},
        template="{% for m in messages %}[{{ m['content'] }}]{% endfor %}",
    )
    runtime.create("User/Pirate:v1", recipe)
    with runtime.open_chat("user/pirate:v1") as server:
        assert server.chat_model.name == "User/Pirate:v1"
        assert server.context_tokens == 768
        assert server.threads == 1
        prompt = server.renderer.render(ask("Hi"), add_generation_prompt=True)
        assert prompt == "[Be a pirate.][Hi]"
        reply = server.chat_model.complete(ask("Repeat: the sea, the sea"), Sampling(max_tokens=40))
        assert "sea" not in reply.text


def test_what_the_recipe_leaves_out_is_taken_from_the_base(
    runtime: EmbeddedRuntime, tmp_path: Path
) -> None:
    store = OllamaFolder(tmp_path / "ollama")
    layers = {"model": store.weights(), "system": "Be brief.", "params": '{"num_ctx": 512}'}
    store.add("registry.ollama.ai/library/small/latest", store.manifest(layers))
    runtime.create("tuned", ModelRecipe(base="small"))
    with runtime.open_chat("tuned") as server:
        assert "Be brief." in server.renderer.render(ask("Hi"), add_generation_prompt=True)
        assert server.context_tokens == 512


def test_a_changed_base_or_adapter_is_refused(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    base = tmp_path / "base.gguf"
    shutil.copyfile(model_path(), base)
    adapter = write_adapter(tmp_path / "adapter.gguf")
    runtime.create("tuned", ModelRecipe(base=str(base), adapter=adapter))
    (kept,) = (tmp_path / "models" / ADAPTERS).iterdir()
    write_adapter(kept, alpha=8.0)
    with pytest.raises(StorageError, match="not the adapter"):
        runtime.open_chat("tuned")
    shutil.copyfile(adapter, kept)
    shutil.copyfile(model_path(), base)
    runtime.open_chat("tuned", context_tokens=256).close()
    copy_model(base, general__name="another")
    with pytest.raises(StorageError, match="was made from") as caught:
        runtime.open_chat("tuned")
    assert caught.value.next_command
    base.unlink()
    with pytest.raises(ModelNotFoundError, match=r"base\.gguf"):
        runtime.open_chat("tuned")


def test_a_damaged_recipe_is_named(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    runtime.create("tuned", ModelRecipe(base="embedded"))
    recipe = tmp_path / "models" / "tuned" / RECIPE_FILE
    for content in ("{", "[]", '{"name": "x"}'):
        recipe.write_text(content)
        with pytest.raises(StorageError, match="damaged") as caught:
            runtime.show("tuned")
        assert str(recipe.parent) in caught.value.next_command
    runtime.delete("tuned")
    assert runtime.list() == []


@pytest.mark.parametrize("name", ["../out", "", ".hidden", "a b", "a\0b", "x" * 81])
def test_no_name_leaves_the_folder(runtime: EmbeddedRuntime, tmp_path: Path, name: str) -> None:
    with pytest.raises(DeploymentError, match="not a model name"):
        runtime.create(name, ModelRecipe(base="embedded"))
    with pytest.raises(ModelNotFoundError):
        runtime.show(name)
    assert list(tmp_path.iterdir()) == []
    runtime.create("a/../../b", ModelRecipe(base="embedded"))
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
    assert runtime.show("a/../../b").name == "a/../../b"


def test_an_unknown_name_comes_with_its_nearest(runtime: EmbeddedRuntime) -> None:
    runtime.create("handbook", ModelRecipe(base="embedded"))
    with pytest.raises(ModelNotFoundError, match="'handbook'"):
        runtime.show("hanbook")
    assert runtime.show("HANDBOOK").name == "handbook"
