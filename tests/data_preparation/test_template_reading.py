"""What a template cannot read is adapted, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.core.conversation import Message, Part, ToolCall
from fine_tuning.core.example import Example
from fine_tuning.data_preparation import masking
from fine_tuning.data_preparation.masking import ExampleTokenizer, Tokenization, show_mask
from fine_tuning.data_preparation.turn_changes import placeholder
from tests.data_preparation import strict_templates as templates
from tests.data_preparation.conftest import Ports, open_folder
from tests.data_preparation.tiny_tokenizers import CHATML, chatml_folder

Turns = list[tuple[str, str]]


def messages(turns: Turns) -> tuple[Message, ...]:
    return tuple(
        Message(id=str(n), role=role, content=(Part(text=text),))  # type: ignore[arg-type]
        for n, (role, text) in enumerate(turns)
    )


def done_of(
    folder: Path, template: str, *turns: Message, tools: tuple[dict[str, object], ...] = ()
) -> tuple[Tokenization, list[str]]:
    ports = open_folder(chatml_folder(folder, template))
    targets = tuple(n for n, one in enumerate(turns) if one.role == "assistant")
    recipe = ExampleTokenizer(ports.tokenizer, ports.renderer, max_length=4096)
    done = recipe.tokenize(
        Example(conversation_id="c", messages=turns, targets=targets, tools=tools)  # type: ignore[arg-type]
    )
    return done, [show_mask(one, ports.tokenizer, ansi=False) for one in done.sequences]


def turn(role: str, text: str) -> str:
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


SYSTEM, QUESTION, REPLY = ("system", "Be brief."), ("user", "Hi?"), ("assistant", "Hello.")


@pytest.mark.parametrize(
    ("template", "turns", "prompt"),
    [
        (templates.GEMMA, [SYSTEM, QUESTION], turn("user", "Be brief.\n\nHi?")),
        (
            templates.GEMMA,
            [("developer", "Be brief."), SYSTEM, QUESTION],
            turn("user", "Be brief.\n\nBe brief.\n\nHi?"),
        ),
        (
            templates.GEMMA,
            [SYSTEM, ("assistant", "Welcome."), QUESTION],
            turn("user", "Be brief.") + turn("model", "Welcome.") + turn("user", "Hi?"),
        ),
        (
            templates.ALTERNATING,
            [("assistant", "Welcome."), QUESTION],
            turn("user", "") + turn("assistant", "Welcome.") + turn("user", "Hi?"),
        ),
        (
            templates.ALTERNATING,
            [SYSTEM, ("system", "In English."), QUESTION],
            turn("user", "Be brief.\n\nIn English.\n\nHi?"),
        ),
        (
            templates.ALTERNATING,
            [QUESTION, ("assistant", "Yes?"), ("system", "Be kind."), ("user", "Who?")],
            turn("user", "Hi?") + turn("assistant", "Yes?") + turn("user", "Be kind.\n\nWho?"),
        ),
        (templates.ALTERNATING, [("user", "Hi"), ("user", "there?")], turn("user", "Hi\n\nthere?")),
        (
            CHATML,
            [SYSTEM, ("assistant", "Welcome."), QUESTION, ("system", "Be kind."), ("user", "Who?")],
            turn("system", "Be brief.")
            + turn("assistant", "Welcome.")
            + turn("user", "Hi?")
            + turn("system", "Be kind.")
            + turn("user", "Who?"),
        ),
        (CHATML, [("system", ""), QUESTION], turn("user", "Hi?")),
        (CHATML, [("developer", " \n"), ("system", "\t"), QUESTION], turn("user", "Hi?")),
    ],
)
def test_a_conversation_is_changed_only_where_its_template_refuses_it(
    tmp_path: Path, template: str, turns: Turns, prompt: str
) -> None:
    done, masks = done_of(tmp_path, template, *messages([*turns, ("assistant", "Last.")]))
    role = "model" if template == templates.GEMMA else "assistant"
    without = masks[-1].replace("[[", "").replace("]]", "")
    assert without == f"{prompt}<|im_start|>{role}\nLast.<|im_end|>"
    assert "[[Last.<|im_end|>]]" in masks[-1]
    assert {drop.reason for drop in done.drops} <= {masking.NOTHING_BEFORE}
    assert ("Welcome." in prompt) == bool(done.drops)


CALL = ToolCall(id="call_1", name="weather", arguments={"city": "Oslo"})
TOOL_TALK = (
    *messages([QUESTION]),
    Message(id="c", role="assistant", content=(Part(text="I look."),), tool_calls=(CALL,)),
    Message(id="t", role="tool", content=(Part(text="drizzle"),), tool_call_id="call_1"),
    *messages([("assistant", "It rains."), ("user", "Thanks."), ("assistant", "Sure.")]),
)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def test_tools_stand_in_the_prompt_where_the_template_shows_them(tmp_path: Path) -> None:
    done, (mask,) = done_of(tmp_path / "tools", templates.TOOLS, *TOOL_TALK, tools=(TOOL,))
    assert mask.startswith("<|im_start|>system\nTools: [{")
    assert '[[I look.<call>{"name": "weather", "arguments": {"city": "Oslo"}}</call>' in mask
    assert "<|im_start|>tool\ndrizzle" in mask
    assert done.drops == ()
    plain, (other,) = done_of(tmp_path / "plain", CHATML, *TOOL_TALK, tools=(TOOL,))
    assert "Tools:" not in other
    assert plain.drops == ()


def test_calls_with_long_ids_get_short_ones(tmp_path: Path) -> None:
    done, (mask,) = done_of(tmp_path, templates.SHORT_IDS, *TOOL_TALK)
    assert done.drops == ()
    assert '{"name": "weather"' in mask
    assert "call_1" not in mask


def test_tools_a_template_refuses_are_told_as_text(tmp_path: Path) -> None:
    done, (mask,) = done_of(tmp_path, templates.ALTERNATING, *TOOL_TALK, tools=(TOOL,))
    assert [(drop.reason, drop.num_targets) for drop in done.drops] == [(masking.NOT_SHOWN, 1)]
    call = '{"tool_calls":[{"arguments":{"city":"Oslo"},"name":"weather"}]}'
    result = '{"tool_response":{"content":"drizzle","name":"weather"}}'
    assert turn("assistant", f"I look.\n\n{call}") + turn("user", result) in mask
    assert mask.count("[[") == 2
    assert "[[It rains.<|im_end|>]]" in mask


def test_tools_a_template_cannot_render_are_left_out(tmp_path: Path) -> None:
    refuses = "{% if tools %}{{ raise_exception('no tools') }}{% endif %}" + CHATML
    done, (mask,) = done_of(tmp_path, refuses, *messages([QUESTION, REPLY]), tools=(TOOL,))
    assert done.drops == ()
    assert mask.startswith("<|im_start|>user\nHi?")


def picture(text: str, *parts: Part) -> Message:
    return Message(id=text, role="user", content=(Part(text=text), *parts))


IMAGE = Part(type="image_url", data={"url": "data:image/png;base64,AAAA"})


def test_only_the_exchange_of_a_picture_is_lost(tmp_path: Path) -> None:
    turns = (
        *messages([QUESTION, REPLY]),
        picture("What bird?", IMAGE),
        *messages([("assistant", "A wren."), ("user", "And storks?"), ("assistant", "Frogs.")]),
    )
    done, (mask,) = done_of(tmp_path, CHATML, *turns)
    assert [(drop.reason, drop.num_targets) for drop in done.drops] == [(masking.NOT_TEXT, 1)]
    assert turn("user", "What bird?\n[image]") + turn("assistant", "A wren.") in mask
    assert mask.count("[[") == 2
    assert "[[Frogs.<|im_end|>]]" in mask


def test_a_picture_from_a_tool_is_needed_by_what_follows_it(tmp_path: Path) -> None:
    turns = (
        *messages([QUESTION, ("assistant", "I draw it.")]),
        Message(id="t", role="tool", content=(IMAGE,), tool_call_id="1"),
        *messages([("assistant", "Here it is."), ("user", "Thanks."), ("assistant", "Sure.")]),
    )
    done, (mask,) = done_of(tmp_path, CHATML, *turns)
    assert [drop.reason for drop in done.drops] == [masking.NOT_TEXT]
    assert "[[I draw it.<|im_end|>]]" in mask
    assert turn("tool", "[image]") + turn("assistant", "Here it is.") in mask


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (IMAGE, "[image]"),
        (Part(type="image"), "[image]"),
        (Part(type="input_audio", data={"data": "AA"}), "[audio]"),
        (Part(type="video_url"), "[video]"),
        (Part(type="file", data={"filename": "Bericht März.pdf"}), "[file: Bericht März.pdf]"),
        (Part(type="file", data={"name": "C:\\tmp\\a.txt"}), "[file: a.txt]"),
        (Part(type="file", data={"path": "/home/x/notes.md"}), "[file: notes.md]"),
        (Part(type="file", data={"url": "data:text/plain;base64,AAAA"}), "[file]"),
        (Part(type="file", data={"file_data": "AAAA"}), "[file]"),
    ],
)
def test_what_stands_for_a_part_that_is_no_text(part: Part, text: str) -> None:
    assert placeholder(part) == text


def test_a_message_that_cannot_be_tokenised_costs_its_own_exchange(chatml: Ports) -> None:
    broken = [("user", "a\udc00"), ("assistant", "No.")]
    turns = messages([QUESTION, REPLY, *broken, ("user", "More?"), ("assistant", "Yes.")])
    recipe = ExampleTokenizer(chatml.tokenizer, chatml.renderer, max_length=4096)
    done = recipe.tokenize(Example(conversation_id="c", messages=turns, targets=(1, 3, 5)))
    assert [(drop.reason, drop.num_targets) for drop in done.drops] == [(masking.REFUSED, 1)]
    (sequence,) = done.sequences
    mask = show_mask(sequence, chatml.tokenizer, ansi=False)
    assert mask.count("[[") == 2
    assert "Hello." in mask.partition("Yes.")[0]


def test_abilities_are_asked_once(tmp_path: Path) -> None:
    ports = open_folder(chatml_folder(tmp_path, templates.GEMMA))
    asked: list[int] = []
    render = ports.renderer.render

    class Counting:
        fingerprint = ports.renderer.fingerprint

        def render(self, turns, **more):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN202
            asked.append(len(turns))
            return render(turns, **more)

    recipe = ExampleTokenizer(ports.tokenizer, Counting(), max_length=4096)
    counts = []
    for n in range(4):
        before = len(asked)
        turns = messages([SYSTEM, ("user", f"Hi {n}?"), REPLY])
        assert recipe.tokenize(Example(conversation_id="c", messages=turns, targets=(2,))).sequences
        counts.append(len(asked) - before)
    assert counts == [counts[0], 2, 2, 2]
    assert counts[0] > 2
