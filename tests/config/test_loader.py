"""Settings come from four places, the stronger wins, and every mistake is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fine_tuning.config.loader import SHIPPED_FILE, load_settings, load_with_places
from fine_tuning.config.schema import Settings
from fine_tuning.core.errors import ConfigError

SPEC = """
# Data collection
data_collection:
  log_file: "conversations.jsonl"
  min_conversation_length: 10
  max_conversation_length: 1000
  auto_export: true
  export_interval: 100

# Data preparation
data_preparation:
  format_type: "chatml"
  max_length: 2048
  train_ratio: 0.8
  validation_ratio: 0.1
  test_ratio: 0.1

# Training
training:
  method: "qlora"
  base_model: "mistral:7b-instruct-q4_0"
  output_dir: "./fine_tuned_models"
  lora_r: 16
  lora_alpha: 32
  batch_size: 4
  learning_rate: 2e-4
  num_epochs: 3

# Evaluation
evaluation:
  metrics: ["perplexity", "accuracy", "bleu", "rouge"]
  test_prompts: ["What is machine learning?", "Explain neural networks"]

# Model deployment
deployment:
  ollama_base_url: "http://localhost:11434"
  auto_deploy: true
  model_name_prefix: "fine_tuned_"
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "settings.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(folder: Path, text: str | bytes) -> Settings:
    return load_settings(write(folder, text), environment={})


def refusal(folder: Path, text: str | bytes = "", *overrides: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(folder, text), environment=environment, overrides=overrides)
    return caught.value.message


def test_the_specifications_example_works_as_written_and_holds_the_defaults(tmp_path: Path) -> None:
    longest = {"data_collection": {"max_conversation_length": 1000}}
    assert load(tmp_path, SPEC) == Settings.model_validate(longest), "no limit is the default"
    assert Settings().training.learning_rate == 0.0002


def test_the_shipped_file_is_read_when_none_is_named() -> None:
    loaded = load_with_places(environment={})
    assert loaded.settings == Settings()
    assert loaded.places["training.learning_rate"].startswith(f"{SHIPPED_FILE}:")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "training:\n", "\ufeff"])
def test_an_empty_file_or_section_means_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Settings()


@pytest.mark.parametrize(
    ("written", "value"),
    [("2e-4", 2e-4), ("1e-5", 1e-5), ("2E-4", 2e-4), ("1.0e-5", 1e-5), (".001", 1e-3), ("1", 1.0)],
)
def test_floats_mean_what_they_look_like(tmp_path: Path, written: str, value: float) -> None:
    assert (
        load(tmp_path, f"training:\n  learning_rate: {written}\n").training.learning_rate == value
    )
    by_set = load_settings(environment={}, overrides=[f"training.learning_rate={written}"])
    assert by_set.training.learning_rate == value


def test_the_float_trap_is_real() -> None:
    """PyYAML alone reads the specification's learning rate as text."""
    assert yaml.safe_load("learning_rate: 2e-4") == {"learning_rate": "2e-4"}


def test_words_are_not_truth_values_and_times_are_not_numbers(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "deployment: {model_name_prefix: no, auto_deploy: no}\n"
        "training: {base_model: 12:30:45}\n"
        "evaluation: {test_prompts: [yes, 2026-01-01]}\n",
    )
    assert settings.deployment.model_name_prefix == "no"
    assert settings.deployment.auto_deploy is False
    assert settings.training.base_model == "12:30:45"
    assert settings.evaluation.test_prompts == ("yes", "2026-01-01")


def test_the_stronger_place_wins_and_is_remembered(tmp_path: Path) -> None:
    path = write(tmp_path, "training:\n  lora_r: 1\n  lora_alpha: 2\n  batch_size: 3\n")
    loaded = load_with_places(
        path,
        environment={
            "FINE_TUNING__TRAINING__LORA_R": "10",
            "FINE_TUNING__TRAINING__LORA_ALPHA": "20",
            "FINE_TUNING_HOME": "/elsewhere",
            "PATH": "/bin",
        },
        overrides=["training.lora_r=100", "training.lora_r=101"],
    )
    training = loaded.settings.training
    assert (training.lora_r, training.lora_alpha, training.batch_size) == (101, 20, 3)
    assert loaded.places == {
        "training.lora_r": "--set training.lora_r",
        "training.lora_alpha": "environment variable FINE_TUNING__TRAINING__LORA_ALPHA",
        "training.batch_size": f"{path}:4",
    }


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("training.base_model=hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M"),
        ("training.base_model=a = b: #c", "a = b: #c"),
        ('training.base_model="7"', "7"),
    ],
)
def test_text_needs_no_quotes_unless_it_looks_like_something_else(
    override: str, value: str
) -> None:
    assert load_settings(environment={}, overrides=[override]).training.base_model == value


def test_lists_and_null_are_written_as_in_the_file() -> None:
    settings = load_settings(
        environment={"FINE_TUNING__TRAINING__MAX_GRAD_NORM": "null"},
        overrides=['training.target_modules=[attn_q, "attn_v"]', "training.max_steps=7"],
    )
    assert settings.training.target_modules == ("attn_q", "attn_v")
    assert settings.training.max_grad_norm is None
    assert settings.training.max_steps == 7


def test_every_mistake_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    text = (
        "training:\n  lora_rr: 8\n  lora_r: yes\n  seed: true\nevalution:\n  metrics: []\n"
        "data_preparation:\n  train_ratio: 0.7\ndeployment: 7\nlearning_rate: 3\n"
    )
    message = refusal(
        tmp_path,
        text,
        "training.num_epochs",
        "training.lora_alpha=[1",
        FINE_TUNING__TRAINING__THREADS="0",
    )
    path = tmp_path / "settings.yaml"
    whole = "expected a whole number at least"
    for line in (
        "10 settings are not accepted:",
        f"training.lora_rr ({path}:2): unknown setting; the nearest in section training is lora_r",
        f"training.lora_r = 'yes' ({path}:3): {whole} 1 and at most 1024",
        f"training.seed = True ({path}:4): {whole} 0 and at most 4294967295",
        f"evalution ({path}:5): unknown setting; the nearest name is evaluation",
        "train_ratio, validation_ratio and test_ratio that add up to 1; 0.7 + 0.1 + 0.1 is 0.9",
        f"deployment = 7 ({path}:9): expected keys below it",
        f"learning_rate ({path}:10): unknown setting; section training has it: training.lear",
        "--set training.num_epochs: expected section.key=value",
        "training.lora_alpha = '[1' (--set training.lora_alpha): line 1 is not YAML",
        f"training.threads = 0 (environment variable FINE_TUNING__TRAINING__THREADS): {whole} 1",
    ):
        assert line in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.learning_rate=.inf", "a number above 0 and at most 1"),
        ("training.learning_rate=nan", "a number above 0 and at most 1"),
        ("training.method=full", "expected qlora or lora"),
        ("training.target_modules=[]", "expected all-linear or a list of any of attn_q, "),
        ("training.target_modules=[attn_q, attn_q]", "attn_q stands there more than once"),
        ("training.lora_r=1.5", "a whole number"),
        ("training.base_model=", "expected text"),
        ("training.base_model=7", "in quotes if it looks like a number"),
        ("evaluation.metrics=bleu", "expected a list of any of perplexity, "),
        ("deployment.ollama_base_url=localhost:11434", "starts with http:// or https://"),
        ("deployment.model_name_prefix=a/b", "text of letters, digits, _, . and -"),
        ("data_collection.max_conversation_length=9", "min_conversation_length, which is 10"),
        ("data_collection.enabled=perhaps", "expected true or false"),
        ("nonsense=1", "the sections are data_collection, data_preparation, training"),
        ("training.lora_r." + "x=1", "unknown setting"),
    ],
)
def test_a_refused_value_is_shown_with_what_is_accepted(
    tmp_path: Path, override: str, expected: str
) -> None:
    message = refusal(tmp_path, "", override)
    assert expected in message
    assert message.startswith("one setting is not accepted:")
    assert len(message.splitlines()) == 2


def test_a_long_value_is_shortened(tmp_path: Path) -> None:
    message = refusal(tmp_path, "", "training.method=" + "x" * 10_000)
    assert "…" in message
    assert len(message) < 400


def nested(levels: int) -> str:
    return "training: " + "[" * levels + "]" * levels


BOMB = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(9))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("training: [", "line 1 is not YAML"),
        ("training:\n\tlora_r: 8\n", "line 2 is not YAML"),
        ("- a\n- b\n", "the text is a list, expected sections"),
        ("hello", "the text is only 'hello', expected sections"),
        ("training:\n  lora_r: 1\n  lora_r: 2\n", "line 3 sets 'lora_r' again"),
        ("training: {}\ntraining: {}\n", "line 2 sets 'training' again"),
        ("a: 1\n---\nb: 2\n", "line 2 starts a second document"),
        (BOMB, r"line 2 uses the alias \*a"),
        ("a: &a\n  b: *a\n", r"uses the alias \*a"),
        ("training: !!python/object:os.system {}\n", "uses the tag tag:yaml.org,2002:python"),
        ("? [a, b]\n: 1\n", "a key that is not a word"),
        (nested(50), "nested deeper than 20 levels"),
        (nested(50_000), "nested deeper than 20 levels"),
        (b"training:\n  base_model: caf\xe9\n", "not UTF-8 text: byte 27 is 0xe9"),
        (b"\x00\x01", "is not YAML"),
        (b"#" * 300_000, "larger than 256 KiB"),
    ],
)
def test_a_file_that_holds_no_settings_gets_one_sentence(
    tmp_path: Path, text: str | bytes, found: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=found) as caught:
        load_settings(path, environment={})
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_folder_or_nothing_in_its_place_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder, expected a YAML file"):
        load_settings(tmp_path, environment={})
    with pytest.raises(ConfigError, match="does not exist") as caught:
        load_settings(tmp_path / "gone.yaml", environment={})
    assert caught.value.next_command == f"cp {SHIPPED_FILE} {tmp_path / 'gone.yaml'}"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings("a\0b", environment={})
