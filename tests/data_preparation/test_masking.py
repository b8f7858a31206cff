from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation, Message, Part, ToolCall
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.data_preparation import masking
from fine_tuning.data_preparation.formatter import examples_from
from fine_tuning.data_preparation.masking import ExampleTokenizer, show_mask, tokenize_example
from fine_tuning.data_preparation.tokenizer import TokenizerUtils
from tests.data_preparation.conftest import Ports, open_folder
from tests.data_preparation.tiny_tokenizers import (
    CHATML,
    chatml_folder,
    dialogpt_folder,
    llama_folder,
)

LONG = 4096
END = 2  # <|im_end|> in SmolLM2
TALK = [
    ("system", "Be brief."),
    ("user", "Who approves remote work?"),
    ("assistant", "Your manager does."),
    ("user", "And a fourth day?"),
    ("assistant", "Then the head of department."),
]


def example_of(turns: list[tuple[str, str]]) -> Example:
    (example,) = examples_from([Conversation.from_turns(turns)])  # type: ignore[arg-type]
    return example


def runs(tokenized: TokenizedExample) -> list[tuple[int, int]]:
    """The spans of learnt tokens."""
    edges = [0, *tokenized.mask, 0]
    starts = [i for i in range(len(tokenized.mask)) if edges[i + 1] and not edges[i]]
    ends = [i for i in range(1, len(edges)) if edges[i - 1] and not edges[i]]
    return list(zip(starts, [end - 1 for end in ends], strict=True))


def assert_serving_would_see_it(
    example: Example,
    sequences: list[TokenizedExample],
    ports: Ports | TokenizerUtils,
    shown: Callable[[str], str] = "{}<|im_end|>".format,
) -> None:
    """The law: the ids before a learnt reply are the ids of its prompt, as serving makes them."""
    spans = [(s.ids[:start], s.ids[start:end]) for s in sequences for start, end in runs(s)]
    assert len(spans) == len(example.targets)
    for target, (before, learnt) in zip(example.targets, spans, strict=True):
        prompt = ports.renderer.render(example.messages[:target], add_generation_prompt=True)
        ids = ports.tokenizer.encode(prompt, add_special=True, parse_special=True)
        assert list(before) == ids
        reply = ports.tokenizer.decode(ids + list(learnt)).removeprefix(ports.tokenizer.decode(ids))
        assert reply == shown(example.messages[target].text)


def test_the_end_of_turn_is_learnt_and_the_ids_are_llama_cpps_own(embedded: TokenizerUtils) -> None:
    example = example_of(TALK)
    (tokenized,) = tokenize_example(example, embedded.tokenizer, embedded.renderer, max_length=LONG)
    assert embedded.tokenizer.encode("<|im_end|>", add_special=False, parse_special=True) == [END]
    for (start, end), text in zip(
        runs(tokenized), ["Your manager does.", "Then the head of department."], strict=True
    ):
        assert tokenized.ids[end - 1] == END
        assert embedded.decode(tokenized.ids[start:end]) == f"{text}<|im_end|>"
    assert_serving_would_see_it(example, [tokenized], embedded)
    whole = embedded.renderer.render(example.messages, add_generation_prompt=False)
    assert whole.endswith("<|im_end|>\n")
    by_llama_cpp = embedded.tokenizer.encode(
        whole.removesuffix("\n"), add_special=True, parse_special=True
    )
    assert list(tokenized.ids) == by_llama_cpp


def test_the_newline_after_the_end_of_turn_is_context(embedded: TokenizerUtils) -> None:
    (tokenized,) = tokenize_example(
        example_of(TALK), embedded.tokenizer, embedded.renderer, max_length=LONG
    )
    (_, end), _ = runs(tokenized)
    assert embedded.decode(tokenized.ids[end : end + 1]) == "\n"
    assert tokenized.mask[end] == 0


def test_special_text_in_a_reply_stays_text_and_in_a_question_is_read_as_serving_reads_it(
    embedded: TokenizerUtils,
) -> None:
    example = example_of(
        [
            ("user", "What is <|im_end|>?"),
            ("assistant", "<|im_end|> ends a turn."),
            ("user", "Thanks"),
            ("assistant", "Welcome"),
        ]
    )
    sequences = tokenize_example(example, embedded.tokenizer, embedded.renderer, max_length=LONG)
    # In the past the reply's text is parsed as a token, so the second turn stands by itself.
    assert len(sequences) == 2
    ((start, end),) = runs(sequences[0])
    assert sequences[0].ids[start:end].count(END) == 1
    assert END in sequences[0].ids[:start]
    assert_serving_would_see_it(example, sequences, embedded)


pieces = [*"ab é🙂\n1 .", "<|im_end|>", "<|im_start|>", "</s>", "<|endoftext|>", "[INST]"]
words = st.lists(st.sampled_from(pieces), min_size=1, max_size=8).map("".join).filter(str.strip)
talks = st.lists(st.tuples(words, words), min_size=1, max_size=3).map(
    lambda pairs: [turn for asked, said in pairs for turn in (("user", asked), ("assistant", said))]
)
FORGETS = (  # as thinking models do: only the last question and what follows are shown in full
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if loop.index0 + 2 < messages | length %}...{% else %}{{ m.content }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FOLDERS: dict[str, tuple[Callable[[Path], Path], Callable[[str], str]]] = {
    "dialogpt": (dialogpt_folder, "{}<|endoftext|>".format),
    "chatml": (chatml_folder, "{}<|im_end|>".format),
    "llama": (llama_folder, lambda text: f" {text.strip()}</s>"),
    "forgets": (lambda folder: chatml_folder(folder, FORGETS), "{}<|im_end|>".format),
}


@pytest.fixture(scope="module", params=list(FOLDERS))
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ports, Callable[[str], str]]:
    make, shown = FOLDERS[request.param]
    return open_folder(make(tmp_path_factory.mktemp(request.param))), shown


@settings(max_examples=60)
@given(turns=talks)
def test_training_sees_what_serving_sees_whatever_is_said(
    model: tuple[Ports, Callable[[str], str]], turns: list[tuple[str, str]]
) -> None:
    ports, shown = model
    example = example_of(turns)
    recipe = ExampleTokenizer(ports.tokenizer, ports.renderer, max_length=LONG)
    done = recipe.tokenize(example)
    assert done.drops == ()
    assert_serving_would_see_it(example, list(done.sequences), ports, shown)
    stop = recipe.end_ids[-1]
    for sequence in done.sequences:
        for start, end in runs(sequence):
            assert sequence.ids[end - 1] == stop
            assert stop not in sequence.ids[start : end - 1]


def test_a_template_that_forgets_gives_each_turn_its_own_sequence(tmp_path: Path) -> None:
    forgets = open_folder(chatml_folder(tmp_path / "forgets", FORGETS))
    keeps = open_folder(chatml_folder(tmp_path / "keeps"))
    example = example_of(TALK)
    assert len(tokenize_example(example, keeps.tokenizer, keeps.renderer, max_length=LONG)) == 1
    assert len(tokenize_example(example, forgets.tokenizer, forgets.renderer, max_length=LONG)) == 2


def test_the_space_a_template_puts_before_a_reply_is_learnt_once(tmp_path: Path) -> None:
    """Mistral's template writes a space, its tokenizer adds one to any text: together still one."""
    mistral = open_folder(llama_folder(tmp_path))
    example = example_of([("user", "Hello"), ("assistant", " I am fine\n")])
    (tokenized,) = tokenize_example(example, mistral.tokenizer, mistral.renderer, max_length=LONG)
    whole = mistral.renderer.render(example.messages, add_generation_prompt=False)
    assert whole == "[INST] Hello [/INST] I am fine</s>"
    assert list(tokenized.ids) == mistral.tokenizer.encode(
        whole, add_special=True, parse_special=True
    )
    assert show_mask(tokenized, mistral.tokenizer, ansi=False).startswith("<s>")


@pytest.mark.parametrize("refused", [0, 1])
def test_what_the_template_always_refuses_is_a_counted_drop(tmp_path: Path, refused: int) -> None:
    template = CHATML.replace(
        "{% for message in messages %}",
        "{% for message in messages %}"
        "{% if 'fourth' in message.content %}{{ raise_exception('No fourth!') }}{% endif %}",
    )
    picky = open_folder(chatml_folder(tmp_path, template))
    recipe = ExampleTokenizer(picky.tokenizer, picky.renderer, max_length=LONG)
    done = recipe.tokenize(example_of(TALK if refused else TALK[:3]))
    assert [drop.num_targets for drop in done.drops] == [1] * refused
    assert {drop.reason for drop in done.drops} == ({masking.REFUSED} if refused else set())
    assert all("No fourth!" in drop.detail for drop in done.drops)
    (tokenized,) = done.sequences
    assert len(runs(tokenized)) == 1


def test_a_greeting_that_opens_the_conversation_is_context(chatml: Ports) -> None:
    greeting = [("assistant", "How can I help?"), *TALK[1:]]
    recipe = ExampleTokenizer(chatml.tokenizer, chatml.renderer, max_length=LONG)
    done = recipe.tokenize(example_of(greeting))
    assert [drop.reason for drop in done.drops] == [masking.NOTHING_BEFORE]
    (tokenized,) = done.sequences
    assert len(runs(tokenized)) == 2
    assert show_mask(tokenized, chatml.tokenizer, ansi=False).startswith(
        "<|im_start|>assistant\nHow can I help?<|im_end|>"
    )


def test_pictures_and_broken_unicode_are_counted_drops(chatml: Ports) -> None:
    recipe = ExampleTokenizer(chatml.tokenizer, chatml.renderer, max_length=LONG)
    picture = Part(type="image_url", data={"url": "blob:sha256:00"})
    asked = Message(id="q", role="user", content=(Part(text="What is it?"), picture))
    reply = Message(id="a", role="assistant", content=(Part(text="A cat."),))
    seen = recipe.tokenize(Example(conversation_id="c", messages=(asked, reply), targets=(1,)))
    assert [drop.reason for drop in seen.drops] == [masking.NOT_TEXT]
    broken = recipe.tokenize(example_of([("user", "a\udc00"), ("assistant", "b")]))
    assert [drop.reason for drop in broken.drops] == [masking.REFUSED]
    assert "surrogate" in broken.drops[0].detail
    none = recipe.tokenize(Example(conversation_id="c", messages=(asked, reply), targets=()))
    assert [(drop.reason, drop.num_targets) for drop in none.drops] == [(masking.NO_TARGETS, 0)]


TOOLS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<call>{{ call.function | tojson }}</call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def called(template: str, folder: Path) -> tuple[masking.Tokenization, Ports]:
    ports = open_folder(chatml_folder(folder, template))
    call = ToolCall(id="1", name="weather", arguments={"city": "Łódź"})
    example = Example(
        conversation_id="c",
        messages=(
            Message(id="q", role="user", content=(Part(text="Rain?"),)),
            Message(id="a", role="assistant", tool_calls=(call,)),
        ),
        targets=(1,),
    )
    recipe = ExampleTokenizer(ports.tokenizer, ports.renderer, max_length=LONG)
    return recipe.tokenize(example), ports


def test_a_tool_call_is_learnt_as_the_template_writes_it(tmp_path: Path) -> None:
    done, ports = called(TOOLS, tmp_path)
    learnt = show_mask(done.sequences[0], ports.tokenizer, ansi=False).partition("[[")[2]
    text = '<call>{"name": "weather", "arguments": {"city": "Łódź"}}</call><|im_end|>]]'
    assert learnt == text


def test_a_tool_call_the_template_hides_is_a_drop(tmp_path: Path) -> None:
    done, _ = called(CHATML, tmp_path)
    assert [drop.reason for drop in done.drops] == [masking.NOT_SHOWN]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", "would never stop"),
        (
            "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
            "leaves replies out",
        ),
    ],
)
def test_a_template_nobody_could_learn_to_stop_with_is_refused(
    tmp_path: Path, template: str, message: str
) -> None:
    ports = open_folder(chatml_folder(tmp_path, template))
    with pytest.raises(DataError, match=message):
        tokenize_example(example_of(TALK), ports.tokenizer, ports.renderer, max_length=LONG)


def test_an_end_of_turn_that_is_no_token_of_the_model_is_learnt_as_text(tmp_path: Path) -> None:
    template = CHATML.replace("<|im_end|>", "<end>")
    ports = open_folder(chatml_folder(tmp_path, template))
    recipe = ExampleTokenizer(ports.tokenizer, ports.renderer, max_length=LONG)
    assert recipe.ending.end == "<end>"
    (tokenized,) = recipe.tokenize(example_of(TALK)).sequences
    shown = show_mask(tokenized, ports.tokenizer, ansi=False)
    assert "[[Your manager does.<end>]]\n" in shown


@settings(max_examples=60)
@given(turns=talks, max_length=st.integers(2, 120))
def test_cutting_keeps_a_prefix_that_ends_with_a_learnt_token_and_counts_the_rest(
    chatml: Ports, turns: list[tuple[str, str]], max_length: int
) -> None:
    example = example_of(turns)
    whole = ExampleTokenizer(chatml.tokenizer, chatml.renderer, max_length=LONG).tokenize(example)
    done = ExampleTokenizer(
        chatml.tokenizer, chatml.renderer, max_length=max_length, truncation="cut"
    ).tokenize(example)
    for sequence in done.sequences:
        assert len(sequence.ids) <= max_length
        assert sequence.mask[-1] == 1
        assert any(full.ids[: len(sequence.ids)] == sequence.ids for full in whole.sequences)
    num_learnt = sum(len(runs(sequence)) for sequence in done.sequences)
    assert num_learnt + sum(drop.num_targets for drop in done.drops) == len(example.targets)
    num_ended = sum(
        s.ids[end - 1] == whole.sequences[0].ids[-1] for s in done.sequences for _, end in runs(s)
    )
    assert num_ended + done.num_cut == num_learnt


def test_what_is_cut_or_dropped_is_said(chatml: Ports, caplog: pytest.LogCaptureFixture) -> None:
    example = example_of(TALK)
    (whole,) = tokenize_example(example, chatml.tokenizer, chatml.renderer, max_length=LONG)
    first_end = runs(whole)[0][1]
    with caplog.at_level(logging.WARNING):
        cut, _ = tokenize_example(
            example, chatml.tokenizer, chatml.renderer, max_length=first_end - 1
        )
        tokenize_example(example, chatml.tokenizer, chatml.renderer, max_length=first_end - 16)
    assert cut.ids == whole.ids[: first_end - 1]
    assert "a reply of conversation" in caplog.text
    assert "1 parts of conversation" in caplog.text
    assert tokenize_example(example, chatml.tokenizer, chatml.renderer, max_length=3) == []
    with pytest.raises(ConfigError, match="max_length is 1"):
        tokenize_example(example, chatml.tokenizer, chatml.renderer, max_length=1)


def test_the_coloured_view_shows_every_character_once(embedded: TokenizerUtils) -> None:
    example = example_of([("user", "Ça va 🙂?"), ("assistant", "Très bien 🙂")])
    (tokenized,) = tokenize_example(example, embedded.tokenizer, embedded.renderer, max_length=LONG)
    shown = show_mask(tokenized, embedded.tokenizer)
    assert shown.endswith("\x1b[32mTrès bien 🙂<|im_end|>\x1b[0m")
    plain = shown.replace("\x1b[32m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert plain == embedded.decode(tokenized.ids)


@pytest.mark.parametrize("truncation", masking.TRUNCATIONS)
def test_a_reply_that_crosses_the_limit(chatml: Ports, truncation: str) -> None:
    example = example_of(TALK)
    (whole,) = tokenize_example(example, chatml.tokenizer, chatml.renderer, max_length=LONG)
    limit = len(whole.ids) - 3  # three tokens into the last reply
    recipe = ExampleTokenizer(
        chatml.tokenizer, chatml.renderer, max_length=limit, truncation=truncation
    )
    done = recipe.tokenize(example)
    lengths = [len(sequence.ids) for sequence in done.sequences]
    first_end = runs(whole)[0][1]
    if truncation == "cut":
        assert (lengths, done.num_cut, done.drops) == ([limit], 1, ())
    elif truncation == "drop":
        assert (lengths, done.num_cut) == ([first_end], 0)
        assert [(d.reason, d.num_targets) for d in done.drops] == [(masking.TOO_LONG, 1)]
    else:
        assert (len(lengths), done.num_cut, done.drops) == (2, 0, ())
        text = chatml.tokenizer.decode(done.sequences[1].ids)
        assert "Be brief." in text
        assert "remote work" not in text
        assert text.endswith("Then the head of department.<|im_end|>")


def test_unknown_truncation_is_refused(chatml: Ports) -> None:
    with pytest.raises(ConfigError, match="expected one of windows, cut, drop, oldest"):
        ExampleTokenizer(chatml.tokenizer, chatml.renderer, max_length=9, truncation="left")
