"""The laws of ``Progress``, run against the work that calls it and the callbacks it calls."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from fine_tuning.core.ports import Progress
from fine_tuning.data_preparation.dataset_builder import DatasetBuilder
from fine_tuning.gguf.merge import MergeTypes, convert_model, merge_adapter
from fine_tuning.gguf.types import TensorType
from fine_tuning.jobs.job_queue import JobQueue
from fine_tuning.jobs.reporter import JobReporter
from fine_tuning.runtimes.ollama_client import CHUNK_BYTES, OllamaClient
from tests.data_preparation.conftest import open_folder
from tests.data_preparation.test_dataset_builder import TALKS
from tests.data_preparation.tiny_tokenizers import chatml_folder
from tests.evaluation.test_answering import Echo, answerer, asked
from tests.gguf.test_merge import TYPES, write_adapter, write_base
from tests.ollama_stand_in.server import StandIn

Work = Callable[[Path, Progress], object]


def preparing(folder: Path, progress: Progress) -> None:
    ports = open_folder(chatml_folder(folder / "model"))
    builder = DatasetBuilder(ports.tokenizer, ports.renderer, base_model={"name": "tiny"})
    builder.build(TALKS[:6], folder / "datasets", progress=progress)


def merging(folder: Path, progress: Progress) -> None:
    base = write_base(folder / "base.gguf")
    adapter = write_adapter(folder / "adapter.gguf", list(TYPES))
    merge_adapter(base, adapter, folder / "out.gguf", progress=progress)


def converting(folder: Path, progress: Progress) -> None:
    base = write_base(folder / "base.gguf")
    types = MergeTypes(others=TensorType.Q8_0)
    convert_model(base, folder / "out.gguf", types=types, progress=progress)


def answering(_: Path, progress: Progress) -> None:
    answerer(Echo()).answer([asked(number) for number in range(7)], progress=progress)


def uploading(folder: Path, progress: Progress) -> None:
    large = folder / "large.bin"
    large.write_bytes(b"x" * (2 * CHUNK_BYTES + 5))
    with StandIn(folder / "ollama", generation="0.33.0") as server:
        OllamaClient(server.url).upload(large, progress)


@pytest.mark.parametrize("work", [preparing, merging, converting, answering, uploading])
def test_work_says_how_far_it_is_and_ends_whole(tmp_path: Path, work: Work) -> None:
    calls: list[tuple[str, int, int]] = []
    work(tmp_path, lambda *call: calls.append(call))
    assert calls
    for what, group in groupby(calls, key=lambda call: call[0]):
        dones, totals = zip(*((done, total) for _, done, total in group), strict=True)
        assert what
        assert list(dones) == sorted(dones), "never backwards"
        assert len(set(totals)) == 1, "the total is known from the start or never"
        assert 0 <= dones[0] <= dones[-1]
        assert totals[0] in {0, dones[-1]}


@pytest.mark.parametrize("work", [preparing, merging, converting, answering])
def test_a_callback_that_raises_ends_the_work(tmp_path: Path, work: Work) -> None:
    def refuse(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, refuse)


def test_a_job_takes_any_progress(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    queue = JobQueue(tmp_path, lambda _: [])
    take: Progress = JobReporter(queue, "one").progress
    for step in (("reading", 0, 0), ("reading", 5, 0), ("asking", 0, 4), ("asking", 4, 4)):
        take(*step)
    assert queue.progress("one").stage == "asking"
    take("other", 9, 4)
