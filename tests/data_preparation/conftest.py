"""Models to prepare data for: the embedded one, and small Hugging Face folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fine_tuning.core.ports import PromptRenderer, Tokenizer
from fine_tuning.data_preparation.hf_tokenizer import HfRenderer, HfTokenizer
from fine_tuning.data_preparation.tokenizer import TokenizerUtils
from tests.data_preparation.tiny_tokenizers import chatml_folder


@dataclass
class Ports:
    tokenizer: Tokenizer
    renderer: PromptRenderer


def open_folder(folder: Path) -> Ports:
    tokenizer = HfTokenizer(folder)
    return Ports(tokenizer, HfRenderer(tokenizer))


@pytest.fixture(scope="session")
def embedded() -> Iterator[TokenizerUtils]:
    with TokenizerUtils("embedded") as utils:
        yield utils


@pytest.fixture(scope="session")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Ports:
    return open_folder(chatml_folder(tmp_path_factory.mktemp("chatml")))
