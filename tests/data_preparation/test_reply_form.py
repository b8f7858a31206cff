"""What is said before a reply, for bases that think and those that do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Message, Part, ToolCall
from fine_tuning.core.example import Example
from fine_tuning.data_preparation.chat_template import ChatTemplate
from fine_tuning.data_preparation.hf_tokenizer import HfRenderer, HfTokenizer
from fine_tuning.data_preparation.incremental_prompts import IncrementalPrompts
from fine_tuning.data_preparation.masking import ExampleTokenizer, show_mask
from fine_tuning.data_preparation.reply_form import closing_marks, open_mark
from tests.data_preparation import strict_templates as templates
from tests.data_preparation.conftest import Ports, open_folder
from tests.data_preparation.tiny_tokenizers import CHATML, byte_level, chatml_folder

MARKS = ("<think>", "</think>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>")


def folder_with_marks(folder: Path, template: str) -> Ports:
    """A model whose marks are special tokens of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *MARKS])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"chat_template": template, "eos_token": {"content": "<|im_end|>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return open_folder(folder)


def shown(ports: Ports, *messages: Message) -> list[str]:
    """The masks of one conversation, every reply of which is trained on."""
    targets = tuple(n for n, one in enumerate(messages) if one.role == "assistant")
    recipe = ExampleTokenizer(ports.tokenizer, ports.renderer, max_length=4096)
    done = recipe.tokenize(Example(conversation_id="c", messages=messages, targets=targets))
    assert done.drops == ()
    return [show_mask(one, ports.tokenizer, ansi=False) for one in done.sequences]


def said(role: str, text: str, **more: str) -> Message:
    return Message(id=text, role=role, content=(Part(text=text),), **more)  # type: ignore[arg-type]


ASKED, REPLY = said("user", "Name a tree."), said("assistant", "The oak is one.")
THOUGHT = said("assistant", "The oak is one.", reasoning="Oaks are trees.")


@pytest.mark.parametrize("make", [lambda f, t: open_folder(chatml_folder(f, t)), folder_with_marks])
@pytest.mark.parametrize(
    ("template", "prompt", "bare", "thought"),
    [
        (
            templates.OPENS_THOUGHT,
            "assistant\n<think>\n",
            "\n</think>\n\nThe oak is one.",
            "Oaks are trees.\n</think>\n\nThe oak is one.",
        ),
        (
            templates.SHOWS_LAST_THOUGHT,
            "assistant\n<think>\n",
            "\n</think>\n\nThe oak is one.",
            "Oaks are trees.\n</think>\n\nThe oak is one.",
        ),
        (
            templates.HYBRID,
            "assistant\n",
            "<think>\n\n</think>\n\nThe oak is one.",
            "<think>\nOaks are trees.\n</think>\n\nThe oak is one.",
        ),
        (
            templates.SHOWS_THOUGHTS,
            "assistant\n",
            "The oak is one.",
            "<think>Oaks are trees.</think>\nThe oak is one.",
        ),
        (CHATML, "assistant\n", "The oak is one.", "The oak is one."),
    ],
)
def test_a_reply_stands_behind_its_closed_thought(
    tmp_path: Path, make: object, template: str, prompt: str, bare: str, thought: str
) -> None:
    ports: Ports = make(tmp_path, template)  # type: ignore[operator]
    question = "<|im_start|>user\nName a tree.<|im_end|>\n<|im_start|>"
    assert shown(ports, ASKED, REPLY) == [f"{question}{prompt}[[{bare}<|im_end|>]]"]
    assert shown(ports, ASKED, THOUGHT) == [f"{question}{prompt}[[{thought}<|im_end|>]]"]


def test_marks_that_are_tokens_are_trained_on_as_tokens(tmp_path: Path) -> None:
    ports = folder_with_marks(tmp_path, templates.OPENS_THOUGHT)
    recipe = ExampleTokenizer(ports.tokenizer, ports.renderer, max_length=4096)
    talk = said("assistant", "Write </think> to end it.")
    example = Example(conversation_id="c", messages=(ASKED, talk), targets=(1,))
    (sequence,) = recipe.tokenize(example).sequences
    (close,) = ports.tokenizer.encode("</think>", add_special=False, parse_special=True)
    assert sequence.ids.count(close) == 1  # the mark in the reply's own words stays text
    assert "[[\n</think>\n\nWrite </think> to end it.<|im_end|>]]" in show_mask(
        sequence, ports.tokenizer, ansi=False
    )


def test_a_reply_that_brings_its_thought_is_not_closed_twice(tmp_path: Path) -> None:
    ports = open_folder(chatml_folder(tmp_path, templates.OPENS_THOUGHT))
    served = said("assistant", "Hm.\n</think>\n\nThe oak.")
    (mask,) = shown(ports, ASKED, served)
    assert mask.endswith("<think>\n[[Hm.\n</think>\n\nThe oak.<|im_end|>]]")


def test_the_past_shows_thoughts_as_the_template_does(tmp_path: Path) -> None:
    later = (said("user", "Another?"), said("assistant", "The elm."))
    keeps = open_folder(chatml_folder(tmp_path / "keeps", templates.SHOWS_THOUGHTS))
    (mask,) = shown(keeps, ASKED, THOUGHT, *later)
    assert mask.count("Oaks are trees.") == 1
    hides = open_folder(chatml_folder(tmp_path / "hides", templates.OPENS_THOUGHT))
    first, second = shown(hides, ASKED, THOUGHT, *later)
    assert "Oaks are trees." in first
    assert "assistant\nThe oak is one.<|im_end|>" in second


def test_a_channel_is_named_before_each_reply(tmp_path: Path) -> None:
    ports = folder_with_marks(tmp_path, templates.CHANNELS)
    (mask,) = shown(ports, ASKED, REPLY)
    final = "<|channel|>final<|message|>The oak is one.<|return|>"
    assert mask.endswith(f"<|im_start|>assistant[[{final}]]")
    (mask,) = shown(ports, ASKED, THOUGHT)
    assert mask.endswith(
        "assistant[[<|channel|>analysis<|message|>Oaks are trees.<|end|><|im_start|>assistant"
        f"{final}]]"
    )


def test_a_call_closes_the_thought_too(tmp_path: Path) -> None:
    template = templates.TOOLS.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    ports = open_folder(chatml_folder(tmp_path, template))
    call = ToolCall(id="1", name="trees", arguments={})
    (mask,) = shown(ports, ASKED, Message(id="a", role="assistant", tool_calls=(call,)))
    assert "<think>\n[[\n</think>\n\n<call>" in mask


def test_the_frame_of_a_thinking_base_puts_prompts_together(tmp_path: Path) -> None:
    ports = open_folder(chatml_folder(tmp_path, templates.OPENS_THOUGHT))
    prompts = IncrementalPrompts(ChatTemplate(ports.tokenizer, ports.renderer))
    turns = [said("user", f"Q{n}") if n % 2 == 0 else said("assistant", f"A{n}") for n in range(12)]
    targets = range(1, 12, 2)
    together = prompts.extend(turns, targets, max_chars=10_000)
    assert together is not None
    for target in targets:
        whole = prompts.turns.prompt_and_reply(turns, target)
        assert together.prompt_and_reply(target) == whole


@pytest.mark.parametrize(
    ("opening", "mark", "close"),
    [
        ("<think>\n", "<think>", "</think>"),
        ("<thought>", "<thought>", "</thought>"),
        ("[THINK]", "[THINK]", "[/THINK]"),
        ("<|START_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>"),
        ("<|begin_of_thought|>\n\n", "<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<seed:think>", "<seed:think>", "</seed:think>"),
        ("◁think▷", "◁think▷", "◁/think▷"),
        ("<|inner_prefix|>", "<|inner_prefix|>", "<|inner_suffix|>"),
        ("<think>\n\n</think>\n\n", "", ""),
        ("Answer: ", "", ""),
        ("", "", ""),
    ],
)
def test_an_opening_mark_names_its_end(opening: str, mark: str, close: str) -> None:
    assert open_mark(opening) == mark
    if mark:
        assert closing_marks(mark)[0] == close


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ("<thought>\n", "\n</thought>\n\n"),
        ("<think>", "\n\n</think>\n\n"),
        ("[THINK]", "[/THINK]"),
        ("◁think▷", "\n\n◁/think▷\n\n"),
    ],
)
def test_other_marks_are_closed_by_their_form(tmp_path: Path, opened: str, closed: str) -> None:
    template = CHATML.replace("assistant\n{% endif %}", f"assistant\n{opened}{{% endif %}}")
    tokenizer = HfTokenizer(chatml_folder(tmp_path, template))
    (mask,) = shown(Ports(tokenizer, HfRenderer(tokenizer)), ASKED, REPLY)
    assert mask.endswith(f"{opened}[[{closed}The oak is one.<|im_end|>]]")


@pytest.mark.parametrize("header", ["<|bot|>", "[BOT]", "Bot: "])
def test_another_header_than_that_of_the_past_is_no_thought(tmp_path: Path, header: str) -> None:
    template = CHATML.replace("<|im_start|>assistant\n{% endif %}", f"{header}{{% endif %}}")
    ports = open_folder(chatml_folder(tmp_path, template))
    (mask,) = shown(ports, ASKED, REPLY)
    assert mask.endswith(f"{header}[[The oak is one.<|im_end|>]]")
