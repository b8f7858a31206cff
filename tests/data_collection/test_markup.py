"""Other programs' markup: what is parted, what stays, and that no text is too strange."""

# ruff: noqa: E501, RUF001 - texts stand on lines of their own; marks are written in the letters in which programs write them

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.conversation import ROLES, Conversation, Message
from fine_tuning.data_collection.markup import may_hold_markup, part_markup
from fine_tuning.data_collection.markup_conversation import without_markup
from tests.strategies import texts

THOUGHTS = {
    "<think>hm</think>\n\nYes.": ("hm", "Yes."),
    "<thinking>\nhm\n</thinking>\nYes.": ("hm", "Yes."),
    "<THINK>hm</THINK>Yes.": ("hm", "Yes."),
    "<think>\n\n</think>\n\n    x = 1": ("", "    x = 1"),
    "<think>hm": ("hm", ""),
    "hm\n</think>\n\nYes.": ("hm", "Yes."),
    "hm.</think>Yes.": ("hm.", "Yes."),
    "<think>a<think>b</think>c</think>Yes.": ("a<think>b</think>c", "Yes."),
    "<think>a <think>b</think>Yes.": ("a <think>b", "Yes."),
    "<think>a</think>One. <think>b</think>Two.": ("a\n\nb", "One. Two."),
    "One.\n<think>b</think>\nTwo.": ("b", "One.\n\nTwo."),
    "Sure. <think>let me see</think> Yes.": ("let me see", "Sure. Yes."),
    "<think>use `</think>` here</think>Yes.": ("use `</think>` here", "Yes."),
    "<think>```\ncode</think>Yes.": ("```\ncode", "Yes."),
    "<thought>hm</thought>Yes.": ("hm", "Yes."),
    "<reasoning>\nhm\n</reasoning>\n<answer>\n42\n</answer>": ("hm", "42"),
    "<seed:think>hm</seed:think>Yes.": ("hm", "Yes."),
    "[THINK]hm[/THINK]Yes.": ("hm", "Yes."),
    "我先想想。<think>嗯</think>好的，是42。": ("嗯", "我先想想。好的，是42。"),
    "Le modèle pense : <think>Je réponds.</think> Oui.": ("Je réponds.", "Le modèle pense : Oui."),
    "◁think▷hm◁/think▷Yes.": ("hm", "Yes."),
    "<|begin_of_thought|>hm<|end_of_thought|><|begin_of_solution|>Yes.<|end_of_solution|>": (
        "hm", "Yes.",
    ),
    "<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>": ("hm", "Yes."),
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>": (
        "hm", "Yes.",
    ),
    "analysisThe user asks.assistantfinalYes.": ("The user asks.", "Yes."),
    "<details type=\"reasoning\" done=\"true\" duration=\"3\">\n<summary>Thought for 3 seconds</summary>\n&gt; a &lt; b\n</details>\nYes.": (
        "a < b", "Yes.",
    ),
    "<details>\n<summary>💭 Thinking process</summary>\n\n> hm\n\n</details>\n\nYes.": ("hm", "Yes."),
    "<details><summary>Thought for a few seconds</summary>hm</details>Yes.": ("hm", "Yes."),
    "<details><summary>思考过程</summary>hm</details>好。": ("hm", "好。"),
    ":::thinking\nhm\n:::\nYes.": ("hm", "Yes."),
    "*Thinking...*\n\n> hm\n> hm\n\nYes.": ("hm\nhm", "Yes."),
}  # fmt: skip


@pytest.mark.parametrize("text", THOUGHTS)
def test_thoughts_are_set_apart(text: str) -> None:
    thoughts, said = THOUGHTS[text]
    found = part_markup(text, role="assistant")
    assert (found.reasoning, found.text, found.steps) == (thoughts, said, ())


@pytest.mark.parametrize("text", ["<think>hm", "Wait.\n<think>hm", "[THINK]hm", ":::thinking\nhm"])
def test_a_reply_that_ends_in_its_thought_is_cut(text: str) -> None:
    assert part_markup(text, role="assistant").is_cut


KEPT = [
    "Yes, 1 < 2 and [1] stays.",
    "The <think> tag opens a thought and the </think> tag closes it.",
    "Models wrap their thoughts in <think> and </think>.",
    "Der Text zwischen <think> und </think> ist der Gedanke.",
    "Use `<think>` before and `</think>` after.",
    'Write "<think>" first.',
    "```xml\n<think>x</think>\n```\nThat is it.",
    "~~~~\n<think>x</think>\n~~~\n</think>\n~~~~\nThat is it.",
    "Wrap it like <think>your reasoning</think>.",
    "<think>...</think> tags are what R1 writes.",
    "Le modèle écrit <think> puis </think>, ensuite la réponse.",
    "模型会在 <think> 和 </think> 之间思考。",
    'Use re.sub(r"<think>.*?</think>", "", text) for it.',
    "Here's the template:\n\n<thinking>\n[your analysis]\n</thinking>\n<answer>\n[yours]\n</answer>",
    "日本語の【重要】なお知らせ【1】です。",
    "A thought ends with </think>, then the answer begins.",
    "<details>\n<summary>Click to see the solution</summary>\n\n42\n</details>",
    "<details><summary>Thinking in systems: a reading list of ten books</summary>x</details>",
    "<p>A <s>wrong</s> <b>word</b></p>",
    "<doc>\n<thought>x</thought>\n<b/>\n</doc>",
    "HTML: <s>old</s>",
    "What does </s> mean?",
    "The token at the end is <|im_end|>",
    "Chemistry [1, 2] says so (see [3]).",
    "Call `<tool_call>` in the prompt.",
    "The <tool_call> tag holds JSON.",
    ":::note\nRead this.\n:::",
    "We cite 12 of them; turn 0 search 1.",
    "He said: \"This block is not supported on your current device yet.\"",
    "In C++, std::vector<thought> v;",
    "```js\nconst a = b[1]; // 【1†x】\n```",
]  # fmt: skip


@pytest.mark.parametrize("text", KEPT)
def test_what_a_text_is_about_stays(text: str) -> None:
    assert part_markup(text, role="assistant").text is text


REMOVED = {
    "Water boils【12†source】. It does【4:0†a.pdf】, too": "Water boils. It does, too",
    "Big 【3†L1-L4】city": "Big city",
    "Big \ue200cite\ue202turn0search1\ue202turn0news2\ue201.": "Big.",
    'See \ue200entity\ue202["city","Paris","capital"]\ue201 now': "See Paris now",
    "Big citeturn0search1turn0news2.": "Big.",
    "Big:contentReference[oaicite:0]{index=0}.": "Big.",
    "Big&#8203;``【oaicite:3】``&#8203;.": "Big.",
    "Get [the table](sandbox:/mnt/data/t.csv).": "Get the table.",
    "Bees dance[citation:3][citation:4].": "Bees dance.",
    "[cite_start]Bees dance.[cite: 1, 2]": "Bees dance.",
    "Bees dance[^1^][^2^].": "Bees dance.",
    "<co: 0>Bees</co: 0> dance.": "Bees dance.",
    "Hello!<|im_end|>": "Hello!",
    "Hello!</s></s>": "Hello!",
    "<|im_start|>assistant\nHello!<|im_end|>\n": "Hello!",
    "Hello!<|eot_id|>": "Hello!",
    "<start_of_turn>model\nHello!<end_of_turn>": "Hello!",
    "One.\n```\nThis block is not supported on your current device yet.\n```\nTwo.": "One.\n\nTwo.",
    "One.\n\nThis block is not supported on your current device yet.\n\nTwo.": "One.\n\nTwo.",
    "Sure:\n<antArtifact identifier=\"d\" type=\"application/vnd.ant.code\" language=\"python\" title=\"d\">\nx = 1\n</antArtifact>\nDone.": "Sure:\n\n```python\nx = 1\n```\n\nDone.",
    "<antThinking>Small.</antThinking>\nSure.": "Sure.",
    "<antArtifact identifier=\"d\" type=\"text/markdown\" title=\"d\">\n# Rain\n</antArtifact>": "# Rain",
    ":::artifact{identifier=\"x\" type=\"text/html\" title=\"T\"}\n```html\n<p>x</p>\n```\n:::\nDone.": "```html\n<p>x</p>\n```\n\nDone.",
    "It is sunny.<grok:render type=\"render_inline_citation\"><argument name=\"id\">1</argument></grok:render>": "It is sunny.",
    "<details type=\"code_interpreter\" done=\"true\">\n<summary>Analyzed</summary>\n```python\nprint(6*7)\n```\n</details>\nIt is 42.": "It is 42.",
}  # fmt: skip


@pytest.mark.parametrize("text", REMOVED)
def test_marks_are_removed(text: str) -> None:
    found = part_markup(text, role="assistant")
    assert (found.text, found.reasoning, found.steps) == (REMOVED[text], "", ())


CALLS = [
    'Look.\n<tool_call>\n{"name": "w", "arguments": {"c": "Rome"}}\n</tool_call>\n<tool_response>\nsun\n</tool_response>\nSunny.',
    'Look.\n<function=w><parameter=c>Rome</parameter></function><tool_response>sun</tool_response>\nSunny.',
    'Look.\n[TOOL_CALLS][{"name": "w", "arguments": {"c": "Rome"}}][TOOL_RESULTS]sun[/TOOL_RESULTS]Sunny.',
    'Look.\n<tool_call>w\n<arg_key>c</arg_key>\n<arg_value>Rome</arg_value></tool_call>\n<tool_response>sun</tool_response>Sunny.',
    'Look.\n<function_calls>\n<invoke name="w">\n<parameter name="c">Rome</parameter>\n</invoke>\n</function_calls>\n<function_results>sun</function_results>\nSunny.',
    'Look.\n<details type="tool_calls" done="true" id="c1" name="w" arguments="&quot;{\\&quot;c\\&quot;: \\&quot;Rome\\&quot;}&quot;" result="&quot;sun&quot;">\n<summary>Tool Executed</summary>\n</details>\nSunny.',
]  # fmt: skip


@pytest.mark.parametrize("text", CALLS)
def test_calls_with_results_become_messages(text: str) -> None:
    given_ = Conversation.from_turns([("user", "Weather?"), ("assistant", text), ("user", "Ok?")])
    found = without_markup(given_)
    assert [(m.role, m.text) for m in found.path()] == [
        ("user", "Weather?"), ("assistant", "Look."), ("tool", "sun"), ("assistant", "Sunny."),
        ("user", "Ok?"),
    ]  # fmt: skip
    _, calling, result, last, _ = found.path()
    assert [(c.name, c.arguments) for c in calling.tool_calls] == [("w", {"c": "Rome"})]
    assert result.tool_call_id == calling.tool_calls[0].id != ""
    assert last.id == given_.messages[1].id
    assert without_markup(found) is found


def test_a_reply_that_is_a_call_stays_one() -> None:
    call = '<tool_call>{"name": "w", "arguments": {"c": "Rome"}}</tool_call>'
    given_ = Conversation.from_turns(
        [("user", "Weather?"), ("assistant", call), ("tool", "<tool_response>sun</tool_response>")]
    )
    found = without_markup(given_)
    assert [m.id for m in found.messages] == [m.id for m in given_.messages]
    assert [m.text for m in found.messages] == ["Weather?", "", "sun"]
    assert found.messages[1].tool_calls[0].name == "w"


def test_an_empty_system_message_is_none() -> None:
    given_ = Conversation.from_turns([("system", " "), ("user", "Hi"), ("assistant", "Hello")])
    assert [(m.role, m.parent_id is None) for m in without_markup(given_).messages] == [
        ("user", True), ("assistant", False),
    ]  # fmt: skip


def test_what_a_person_wrote_stays() -> None:
    text = "<think>What is this?</think> Explain 【1†source】."
    assert part_markup(text, role="user").text is text


MARKS = st.sampled_from(
    ["<think>", "</think>", "<thought>", "</thought>", "[THINK]", "[/THINK]", "```", "`", "~~~", "\n",
     '<details type="reasoning">', "<details>", "<summary>Thinking</summary>", "</details>",
     '<details type="tool_calls" name="x" arguments="{}" result="1">', ":::thinking\n", ":::", " ",
     "<tool_call>", "</tool_call>", '{"name": "x"}', "<tool_response>", "</tool_response>", "a", "b.",
     "<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|end|>", "<|im_end|>", "</s>",
     "<s>", "【1†s】", "\ue200cite\ue201", "<antArtifact type=\"text/html\">", "</antArtifact>", "and",
     "This block is not supported on your current device yet.", "[TOOL_CALLS]", "analysisA", "> ",
     "assistantfinal ", "<antThinking>", "</antThinking>", "<answer>", "</answer>", "the ", "\ud83d"]
)  # fmt: skip


@given(st.one_of(texts, st.lists(MARKS, max_size=14).map("".join)), st.sampled_from(ROLES))
def test_any_text_is_parted_once_and_for_all(text: str, role: str) -> None:
    found = part_markup(text, role=role)  # type: ignore[arg-type]
    again = part_markup(found.text, role=role)  # type: ignore[arg-type]
    assert (again.text, again.reasoning, again.steps) == (found.text, "", ())
    assert again.text is found.text
    if not may_hold_markup(text):
        assert found.text is text


@given(st.lists(st.lists(MARKS, max_size=8).map("".join), min_size=1, max_size=4))
def test_any_conversation_stays_a_tree(said: list[str]) -> None:
    messages = [
        Message(id="0", role="user"),
        *(Message(id=str(n), role="assistant", parent_id=str(n - 1)).with_text(one)
          for n, one in enumerate(said, 1)),
    ]  # fmt: skip
    found = without_markup(Conversation(id="c", messages=tuple(messages)))
    seen: set[str] = set()
    for message in found.messages:
        assert message.parent_id is None or message.parent_id in seen
        assert message.id not in seen
        seen.add(message.id)
    assert found.path()[0].id == "0"
    assert {str(n) for n in range(len(said) + 1)} <= seen
    assert without_markup(found) is found
