"""Every snippet of the specification runs as written, in a fresh interpreter and an empty folder.

``PRELUDE`` holds the names a snippet leaves to its reader; what stands after it proves that
something came of it. The settings file of the specification is run in ``config/test_loader.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CONVERSATIONS = """
conversations = [
    {"user_message": "How many days of holiday do I have?", "bot_response": "You have 27 days."},
    {"user_message": "Who signs expenses?", "bot_response": "Your team lead signs them."},
    {"user_message": "Who signs expenses?", "bot_response": "Your team lead signs them."},
]
"""
MESSAGES = """
user_message = user_msg = "What is AI?"
bot_response = "AI is artificial intelligence..."
metadata = {"model": "mistral", "session": "monday"}
"""
LOGGER_IMPORT = "from fine_tuning.data_collection.conversation_logger import ConversationLogger"
LOGGER = """
# Logs conversations for fine-tuning data collection
logger = ConversationLogger("conversations.jsonl")
logger.log_conversation(user_message, bot_response, metadata)
"""
CLEANER_IMPORT = "from fine_tuning.data_collection.data_cleaner import DataCleaner"
CLEANER = """
# Cleans and filters conversation data
cleaner = DataCleaner(min_length=10, max_length=1000)
cleaned_data = cleaner.filter_conversations(conversations)
"""
FORMATTER_IMPORT = "from fine_tuning.data_preparation.formatter import TrainingDataFormatter"
FORMATTER = """
# Formats data for different fine-tuning frameworks
formatter = TrainingDataFormatter("chatml")
training_pairs = formatter.create_training_pairs(conversations)
"""
TOKENIZER_IMPORT = "from fine_tuning.data_preparation.tokenizer import TokenizerUtils"
TOKENIZER = """
# Handles tokenization for fine-tuning
tokenizer = TokenizerUtils("microsoft/DialoGPT-medium")
tokenized = tokenizer.tokenize_conversation(user_msg, bot_response)
"""
BASIC_USAGE = """
from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_preparation.formatter import TrainingDataFormatter

# Log conversations
logger = ConversationLogger()
logger.log_conversation("What is AI?", "AI is artificial intelligence...")

# Format data for training
formatter = TrainingDataFormatter("chatml")
training_pairs = formatter.create_training_pairs(conversations)
"""
EXPORT = """
from fine_tuning.data_collection.data_export import DataExporter

# Export conversations
exporter = DataExporter()
exports = exporter.export_all_formats(conversations)
"""
DEBUG_MODE = """
# Enable debug logging
import logging
logging.basicConfig(level=logging.DEBUG)

# Test individual components
from fine_tuning.data_collection.conversation_logger import ConversationLogger
logger = ConversationLogger()
stats = logger.get_conversation_stats()
print(stats)
"""


def run(folder: Path, *pieces: str, **environment: str) -> str:
    """Run pieces of code one after the other, in a folder, and return what they print."""
    code = "\n".join(textwrap.dedent(piece) for piece in pieces)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=os.environ | {"FINE_TUNING_HOME": str(folder / "home")} | environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer(folder: Path, *pieces: str, tell: str, **environment: str) -> Any:
    """Run pieces of code and return the value of an expression."""
    ending = f"import json; print(json.dumps({tell}, default=repr))"
    return json.loads(run(folder, *pieces, ending, **environment).splitlines()[-1])


def test_conversation_logger(tmp_path: Path) -> None:
    run(tmp_path, LOGGER_IMPORT, MESSAGES, LOGGER)
    (line,) = (tmp_path / "conversations.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)
    for text in ("What is AI?", "AI is artificial intelligence...", "monday"):
        assert text in line


def test_data_cleaner(tmp_path: Path) -> None:
    """Of two equal conversations one is kept, and nothing else is lost."""
    kept = answer(
        tmp_path, CLEANER_IMPORT, CONVERSATIONS, CLEANER, tell="[str(c) for c in cleaned_data]"
    )
    assert len(kept) == 2
    assert "27 days" in kept[0]


def test_training_data_formatter(tmp_path: Path) -> None:
    pairs = answer(tmp_path, FORMATTER_IMPORT, CONVERSATIONS, FORMATTER, tell="training_pairs")
    assert pairs[0]["messages"] == [
        {"role": "user", "content": "How many days of holiday do I have?"},
        {"role": "assistant", "content": "You have 27 days."},
    ]
    assert len(pairs) == 3


def test_tokenizer_utils(tmp_path: Path) -> None:
    """The named model is one of a hub; here its tokenizer lies in the hub's cache, freshly made."""
    cache = tmp_path / "hub"
    fill_cache(cache / "models--microsoft--DialoGPT-medium")
    tokenized = answer(
        tmp_path, TOKENIZER_IMPORT, MESSAGES, TOKENIZER, tell="tokenized", HF_HUB_CACHE=str(cache)
    )
    assert len(tokenized["input_ids"]) == len(tokenized["labels"]) > 5
    learnt = [token for token in tokenized["labels"] if token != -100]
    assert 0 < len(learnt) < len(tokenized["labels"])
    assert learnt == tokenized["input_ids"][-len(learnt) :]
    spelled = answer(
        tmp_path,
        TOKENIZER_IMPORT,
        f"tokenizer = TokenizerUtils({str(cache)!r} + '/models--microsoft--DialoGPT-medium"
        "/snapshots/abc')",
        tell=f"tokenizer.decode({learnt})",
    )
    assert spelled == "AI is artificial intelligence...<|endoftext|>"


def fill_cache(repo: Path) -> None:
    """Lay a small GPT-2-style tokenizer where ``huggingface_hub`` keeps a model's files."""
    end = "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([CONVERSATIONS, MESSAGES], trainer)
    folder = repo / "snapshots" / "abc"
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "bos_token": end,
        "eos_token": end,
        "tokenizer_class": "GPT2Tokenizer",
        "chat_template": "{% for message in messages %}{{ message.content }}{{ eos_token }}"
        "{% endfor %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc", encoding="utf-8")


def test_basic_usage(tmp_path: Path) -> None:
    pairs = answer(tmp_path, CONVERSATIONS, BASIC_USAGE, tell="training_pairs")
    assert len(pairs) == 3
    logged = [path for path in tmp_path.rglob("*") if path.suffix in {".jsonl", ".db"}]
    assert any(b"What is AI?" in path.read_bytes() for path in logged)


def test_export(tmp_path: Path) -> None:
    exports = answer(tmp_path, CONVERSATIONS, EXPORT, tell="exports")
    assert {"chatml", "alpaca", "instruction"} <= set(exports)
    texts = [
        path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.suffix == ".jsonl"
    ]
    assert len([text for text in texts if "27 days" in text]) >= 3


def test_debug_mode(tmp_path: Path) -> None:
    empty = run(tmp_path, DEBUG_MODE)
    assert "0" in empty
    run(tmp_path, BASIC_USAGE.split("# Format", maxsplit=1)[0])
    assert run(tmp_path, DEBUG_MODE) != empty
