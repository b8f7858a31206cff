from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.errors import (
    DataError,
    GgufError,
    ModelNotFoundError,
    RuntimeUnavailableError,
)
from fine_tuning.core.naming import file_sha256
from fine_tuning.data_preparation import hf_hub
from fine_tuning.data_preparation.tokenizer import IGNORED_LABEL, TokenizerUtils
from fine_tuning.runtimes.base_model import resolve_base_model
from tests.data_preparation.tiny_tokenizers import chatml_folder, dialogpt_folder

NAME = "microsoft/DialoGPT-medium"
ENGLISH = (
    "Every employee may work from home on up to three days a week. The manager approves the plan "
    "in advance, and the team agrees on one day on which everybody is in the office. Equipment is "
    "ordered through the service desk, which answers within two working days; a second monitor "
    "needs the approval of the department. Expenses are paid back with the next salary."
)


@pytest.fixture(autouse=True)
def offline_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache and Ollama store, and no way to the hub."""
    for name in ("HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return tmp_path / "hf" / "hub"


@pytest.fixture
def dialogpt(offline_cache: Path) -> None:
    """A DialoGPT-shaped tokenizer where ``hf download`` would have put it."""
    repo = offline_cache / "models--microsoft--DialoGPT-medium"
    dialogpt_folder(repo / "snapshots" / "7b40bb0f92c45fefa957d088000d8648e5c7fa33")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("7b40bb0f92c45fefa957d088000d8648e5c7fa33")


@pytest.mark.usefixtures("dialogpt")
def test_the_specs_snippet() -> None:
    user_msg, bot_response = "What is AI?", "AI is artificial intelligence..."
    tokenizer = TokenizerUtils("microsoft/DialoGPT-medium")
    tokenized = tokenizer.tokenize_conversation(user_msg, bot_response)
    assert set(tokenized) == {"input_ids", "attention_mask", "labels"}
    text = f"{user_msg}<|endoftext|>{bot_response}<|endoftext|>"
    assert tokenizer.decode(tokenized["input_ids"]) == text
    learnt = [label for label in tokenized["labels"] if label != IGNORED_LABEL]
    assert tokenizer.decode(learnt) == f"{bot_response}<|endoftext|>"
    assert tokenized["input_ids"][-len(learnt) :] == learnt
    assert tokenized["attention_mask"] == [1] * len(tokenized["labels"])


def test_a_hub_model_that_is_nowhere_is_one_clear_error_offline(offline_cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=NAME) as caught:
        TokenizerUtils(NAME)
    assert str(offline_cache) in caught.value.message
    assert "HF_HUB_OFFLINE" in caught.value.message
    assert f"hf download {NAME}" in caught.value.next_command


def test_a_hub_that_does_not_answer_is_one_clear_error(
    tmp_path: Path,
) -> None:
    with pytest.raises(ModelNotFoundError, match="the hub did not give it"):
        hf_hub.download_folder("no such name!", {"HF_HOME": str(tmp_path)})
    assert not hf_hub.is_repo_name("../etc/passwd")
    assert not hf_hub.is_repo_name("mistral:7b-instruct-q4_0")
    assert hf_hub.cached_folder("../../x") is None


def test_the_caches_place_follows_the_environment() -> None:
    assert hf_hub.cache_folder({"HF_HUB_CACHE": "/a"}) == Path("/a")
    assert hf_hub.cache_folder({"HF_HOME": "/b"}) == Path("/b/hub")
    assert hf_hub.cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")


def test_an_unknown_ollama_name_never_asks_the_hub() -> None:
    with pytest.raises(ModelNotFoundError, match="Ollama's store") as caught:
        TokenizerUtils("mistral:7b-instruct-q4_0")
    assert "ollama pull mistral:7b-instruct-q4_0" in caught.value.next_command


def test_a_folder_without_a_tokenizer_and_a_file_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="holds no tokenizer"):
        TokenizerUtils(str(tmp_path)).count_tokens("a")
    (tmp_path / "x.gguf").write_bytes(b"hello, I am no model")
    with pytest.raises(GgufError):
        TokenizerUtils(str(tmp_path / "x.gguf"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", "{", "cannot be read"),
        ("tokenizer_config.json", "[]", "expected an object"),
        ("tokenizer_config.json", '{"chat_template": "{% for %}"}', "no valid Jinja"),
        ("tokenizer_config.json", "{}", "neither a chat template nor an end-of-text token"),
    ],
)
def test_a_damaged_folder_is_one_clear_error(
    tmp_path: Path, file: str, content: str, message: str
) -> None:
    (chatml_folder(tmp_path) / file).write_text(content)
    with pytest.raises(DataError, match=message):
        TokenizerUtils(str(tmp_path)).count_tokens("a")


@pytest.mark.parametrize("attack", ["().__class__.__mro__", "cycler.__init__.__globals__"])
def test_a_hostile_template_reaches_nothing(tmp_path: Path, attack: str) -> None:
    chatml_folder(
        tmp_path, "{{ " + attack + " }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(DataError, match="refuses messages"):
        TokenizerUtils(str(tmp_path)).tokenize_conversation("a", "b")


def test_a_template_file_and_a_list_of_templates_are_read(tmp_path: Path) -> None:
    folder = chatml_folder(tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    named = [
        {"name": "tools", "template": "x"},
        {"name": "default", "template": "{{ messages[0].content }}!"},
    ]
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": named}))
    asked = TokenizerUtils(str(folder))
    turns = _user("Hi")
    assert asked.renderer.render(turns, add_generation_prompt=True) == "Hi!"
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}?")
    assert TokenizerUtils(str(folder)).renderer.render(turns, add_generation_prompt=True) == "Hi?"


def _user(text: str) -> tuple[Message, ...]:
    return Conversation.from_turns([("user", text)]).messages


def test_the_embedded_model_an_ollama_tag_and_a_file_give_the_same_ids(
    embedded: TokenizerUtils, tmp_path: Path
) -> None:
    path = resolve_base_model("embedded").path
    _ollama_store(tmp_path / "ollama", "smollm", "135m-q4_1", path)
    wanted = embedded.tokenize_conversation("What is AI?", "A field.")
    assert wanted["labels"][-1] == 2
    for name in (str(path), "smollm:135m-q4_1"):
        with TokenizerUtils(name) as utils:
            assert utils.tokenize_conversation("What is AI?", "A field.") == wanted
            assert utils.tokenizer.fingerprint == embedded.tokenizer.fingerprint


def _ollama_store(root: Path, model: str, tag: str, weights: Path) -> None:
    """The layout of ``ollama pull``: a manifest that names blobs by their digest."""
    blobs = root / "blobs"
    blobs.mkdir(parents=True)
    digest = file_sha256(weights)
    (blobs / digest.replace(":", "-")).symlink_to(weights)
    config = json.dumps({"model_format": "gguf", "model_family": "llama"}).encode()
    (blobs / "config").write_bytes(config)
    config_digest = file_sha256(blobs / "config")
    (blobs / "config").rename(blobs / config_digest.replace(":", "-"))
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": config_digest,
            "size": len(config),
        },
        "layers": [
            {
                "mediaType": "application/vnd.ollama.image.model",
                "digest": digest,
                "size": weights.stat().st_size,
            }
        ],
    }
    folder = root / "manifests" / "registry.ollama.ai" / "library" / model
    folder.mkdir(parents=True)
    (folder / tag).write_text(json.dumps(manifest))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[TokenizerUtils]:
    with TokenizerUtils(str(chatml_folder(tmp_path / "chatml"))) as utils:
        yield utils


def test_counting_encoding_and_decoding(small: TokenizerUtils) -> None:
    assert small.decode(small.encode("Hello there")) == "Hello there"
    assert small.count_tokens("Hello there") == len(small.encode("Hello there"))
    assert small.count_tokens("") == 0
    assert small.count_tokens("<|im_end|>") > 1
    assert len(small.encode("<|im_end|>", parse_special=True)) == 1


def test_the_estimate_is_near_the_count_for_prose(embedded: TokenizerUtils) -> None:
    estimate, count = TokenizerUtils.estimate_tokens(ENGLISH), embedded.count_tokens(ENGLISH)
    assert abs(estimate - count) <= 0.1 * count
    assert TokenizerUtils.estimate_tokens("") == 0
    assert TokenizerUtils.estimate_tokens("人工智能") == 4
    assert TokenizerUtils.estimate_tokens("\udc00") > 0


def test_a_batch_has_one_row_per_pair_and_is_padded_on_request(small: TokenizerUtils) -> None:
    pairs = [("Hi", "Hello"), {"user_message": "What is AI?", "bot_response": "A long story."}]
    batch = small.batch_tokenize(pairs)  # type: ignore[arg-type]
    assert batch["input_ids"] == [
        small.tokenize_conversation("Hi", "Hello")["input_ids"],
        small.tokenize_conversation("What is AI?", "A long story.")["input_ids"],
    ]
    padded = small.batch_tokenize(pairs, pad_to_longest=True)  # type: ignore[arg-type]
    lengths = {len(row) for rows in padded.values() for row in rows}
    assert lengths == {len(batch["input_ids"][1])}
    fill = lengths.pop() - len(batch["input_ids"][0])
    assert padded["attention_mask"][0][-fill:] == [0] * fill
    assert padded["labels"][0][-fill:] == [IGNORED_LABEL] * fill
    assert small.batch_tokenize([]) == {"input_ids": [], "attention_mask": [], "labels": []}
    with pytest.raises(DataError, match="pair 1: it is no"):
        small.batch_tokenize([("a", "b"), ("a",)])  # type: ignore[list-item]
    with pytest.raises(DataError, match="pair 0: the reply is empty"):
        small.batch_tokenize([("a", " ")])


def test_max_length_cuts_with_a_warning_and_refuses_when_nothing_is_left(
    small: TokenizerUtils, caplog: pytest.LogCaptureFixture
) -> None:
    whole = small.tokenize_conversation("Hi", "Hello there, how are you?")["input_ids"]
    short = TokenizerUtils(small.name, max_length=len(whole) - 3)
    with caplog.at_level(logging.WARNING):
        cut = short.tokenize_conversation("Hi", "Hello there, how are you?")
    assert cut["input_ids"] == whole[:-3]
    assert "cut" in caplog.text
    with pytest.raises(DataError, match="beyond max_length"):
        TokenizerUtils(small.name, max_length=4).tokenize_conversation("Hi", "Hello")


def test_a_closed_tokenizer_says_so(small: TokenizerUtils) -> None:
    small.close()
    small.close()
    with pytest.raises(RuntimeUnavailableError, match="closed"):
        small.count_tokens("a")
