"""Every kind of file a version is served from is loaded by llama.cpp before it takes its place."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fine_tuning.core.errors import ConfigError, UnsupportedModelError
from fine_tuning.gguf.adapter import BLOCK_SUM_KEY
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType
from fine_tuning.gguf.writer import tensor_from_file, write_gguf
from fine_tuning.model_management.artefacts import (
    MERGED_KINDS,
    check_served,
    is_mergeable,
    write_merged,
    write_modelfile,
)
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.ollama_modelfile import Modelfile, parse_modelfile
from tests.gguf.adapters import write_pairs
from tests.runtimes.small_model import VOCABULARY, write_small_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("base") / "base.gguf")


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    """A mergeable adapter of the model's Q4_0 weights, with plain pairs elsewhere."""
    generator, pairs, folded = np.random.default_rng(4), {}, []
    with GgufFile.open(base) as file:
        names = [
            n for n, info in file.tensors.items() if n.startswith("blk") and len(info.shape) > 1
        ]
        for name in names:
            info = file.tensor(name)
            a = generator.standard_normal((4, info.shape[1])).astype(np.float32)
            if info.type is TensorType.Q4_0:
                a = a[:, ::32].repeat(32, axis=1)
                folded.append(name)
            b = generator.standard_normal((info.shape[0], 4)).astype(np.float32) / 100
            pairs[name] = (a, b)
    return write_pairs(base.with_name("adapter.gguf"), pairs, folded)


def likeliest(model: Path, adapter: Path | None = None) -> dict[int, float]:
    with EmbeddedServer(model, adapter=adapter, context_tokens=256, threads=1) as server:
        return dict(server.next_token_log_probabilities([5, 9, 33, 70, 41], VOCABULARY))


def divergence(p: dict[int, float], q: dict[int, float]) -> float:
    return sum(math.exp(p[i]) * (p[i] - q[i]) for i in p if i in q)


def test_llama_cpp_serves_merged_and_unmerged_alike(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    made = write_merged(base, adapter, tmp_path / "merged.gguf")
    assert made.size_bytes == made.path.stat().st_size
    check_served(base, adapter)
    bare, unmerged, merged = likeliest(base), likeliest(base, adapter), likeliest(made.path)
    assert divergence(unmerged, bare) > 0.01
    assert divergence(unmerged, merged) < 0.1 * divergence(unmerged, bare)


@pytest.mark.parametrize("kind", MERGED_KINDS)
def test_every_kind_is_loaded_before_it_is_done(
    base: Path, adapter: Path, tmp_path: Path, kind: str
) -> None:
    made = write_merged(base, adapter, tmp_path / "out.gguf", kind=kind)
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]
    with GgufFile.open(made.path) as file:
        found = {info.type.name.lower() for n, info in file.tensors.items() if "attn_q" in n}
        assert found == {"merged": {"q4_1"}, "requantised": {"q4_0"}}.get(
            kind, {kind.removeprefix("merged-")}
        )


def test_a_chat_template_is_written_into_the_model(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    made = write_merged(base, adapter, tmp_path / "out.gguf", chat_template=template)
    with GgufFile.open(made.path) as file:
        assert file.get("tokenizer.chat_template", str) == template


def test_what_llama_cpp_refuses_never_takes_its_place(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    """A base without its output norm merges well, and serves no one."""
    broken, out = tmp_path / "broken.gguf", tmp_path / "out.gguf"
    out.write_bytes(b"old")
    with GgufFile.open(base) as file:
        kept = [tensor_from_file(file, n) for n in file.tensors if n != "output_norm.weight"]
        write_gguf(broken, file.typed_metadata, kept)
    with pytest.raises(UnsupportedModelError, match="output_norm"):
        write_merged(broken, adapter, out)
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.gguf", "out.gguf"]


def test_an_unknown_kind_is_named(base: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'merged-q9' is no merged file, expected one of merged"):
        write_merged(base, adapter, tmp_path / "out.gguf", kind="merged-q9")


def test_adapters_say_whether_they_fold(adapter: Path, tmp_path: Path) -> None:
    assert is_mergeable(adapter)
    with GgufFile.open(adapter) as file:
        keys = {k: v for k, v in file.typed_metadata.items() if k != BLOCK_SUM_KEY}
        write_gguf(tmp_path / "a.gguf", keys, [tensor_from_file(file, n) for n in file.tensors])
    assert not is_mergeable(tmp_path / "a.gguf")


def test_a_modelfile_keeps_all_but_the_files(tmp_path: Path) -> None:
    settings = Modelfile(
        base="mistral",
        template="{{ .Prompt }}!",
        system="Be\nbrief.",
        parameters={"stop": ("<e>",)},
    )
    text = write_modelfile(tmp_path / "Modelfile", Path("/m.gguf"), settings, Path("/a.gguf"))
    assert (tmp_path / "Modelfile").read_text(encoding="utf-8") == text
    found = parse_modelfile(text)
    assert (found.base, found.adapters) == ("/m.gguf", ("/a.gguf",))
    assert (found.template, found.system) == (settings.template, settings.system)
    assert (
        parse_modelfile(write_modelfile(tmp_path / "M", Path("/m.gguf"), settings)).adapters == ()
    )
