"""Bases whose own template has tools: what becomes of these on each kind of server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Conversation, Message, ToolCall
from fine_tuning.core.errors import DataError, DeploymentError, RuntimeFailedError
from fine_tuning.model_management.proof_parts import PROMPT, Proof
from fine_tuning.model_management.tools_check import TOOL, check_tools
from fine_tuning.workbench.models.deploy import DeployResult
from fine_tuning.workbench.workbench import Workbench
from tests.ollama_stand_in.generations import GENERATIONS
from tests.ollama_stand_in.go_template import render_chat
from tests.ollama_stand_in.server import StandIn
from tests.workbench.trained import NAME, Chat, Trained, write_trained

JINJA = (
    "{% if tools %}<|im_start|>system\nTools: {% for t in tools %}{{ t['function']['name'] }} "
    "{{ t['function']['parameters']['required'] | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATS = "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
END = "<|im_start|>assistant\n"


def go(tool: str, chats: str = CHATS + END) -> str:
    head = f"<|im_start|>system\nTools: {{{{ range .Tools }}}}{tool}{{{{ end }}}}<|im_end|>\n"
    return f"{{{{ if .Tools }}}}{head}{{{{ end }}}}{chats}"


GO: dict[str, str | None] = {
    "as Jinja has it": go("{{ .Function.Name }} {{ json .Function.Parameters.Required }}"),
    "other JSON": go("{{ .Function }}"),
    "no tools": CHATS + END,
    "no template": None,
    "other turns": go("{{ .Function }}", "{{ range .Messages }}{{ .Content }}\n{{ end }}> "),
}
OLD, NATIVE = ("0.3.14", "0.9.6"), ("0.33.0", "0.34.2", "0.40.0")
QUICK = {("other JSON", "0.24.0"), ("other JSON", "0.40.0")}


def standing(template: str, generation: str) -> str:
    """What is to come out where no tools were trained on."""
    if generation in OLD:
        return "not shown"
    if generation in NATIVE or template == "as Jinja has it":
        return "as trained"
    return "as the base" if template.startswith("other") else "refused as the base"


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@contextmanager
def scene(folder: Path, generation: str, template: str) -> Iterator[tuple[StandIn, Trained]]:
    trained = write_trained(folder, name=NAME, tokenizer__chat_template=JINJA)
    with pytest.MonkeyPatch.context() as patch, StandIn(folder, generation=generation) as server:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("OLLAMA_MODELS", str(server.root))
        text = GO[template]
        server.add_model(NAME, trained.base, **({"template": text} if text else {}))
        yield server, trained


def prompts_of(done: DeployResult) -> tuple[str, str]:
    """Return how the deployed model stands with tools, and the sentence about its prompts."""
    part = Proof.from_dict(done.deployed.proof).part(PROMPT)
    return part.figures["tools"], part.sentence


@pytest.mark.parametrize(
    ("template", "generation"),
    [
        pytest.param(template, key, marks=() if (template, key) in QUICK else pytest.mark.slow)
        for template in GO
        for key in GENERATIONS
    ],
)
def test_every_base_with_tools_is_deployed(tmp_path: Path, template: str, generation: str) -> None:
    with scene(tmp_path, generation, template) as (server, trained):
        trained.add_run()
        done = trained.bench(server.url).models.deployment.deploy()
        found, sentence = prompts_of(done)
        assert found == standing(template, generation)
        words = {
            "as trained": "with tools they are those trained on, too",
            "as the base": "with tools they are the base's own",
            "refused as the base": "the server takes no tools for this model, as for its base",
            "not shown": "this server shows no prompts",
        }
        assert words[found] in sentence
        assert (words[found] in done.deployed.decisions["tools"]) == (found != "not shown")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        pytest.param("other JSON", "differs at character", marks=pytest.mark.slow),
        ("no tools", "does not support tools"),
    ],
)
def test_tools_that_were_trained_on_must_be_served_so(
    tmp_path: Path, template: str, said: str
) -> None:
    with scene(tmp_path, "0.24.0", template) as (server, trained):
        trained.add_run(chats={"train": [with_tools()]})
        with pytest.raises(DeploymentError, match=said) as caught:
            trained.bench(server.url).models.deployment.deploy()
        assert "conversations with tools were trained on" in caught.value.message
        assert "server_died" not in caught.value.message
        assert caught.value.next_command == "fine-tuning deploy support:1 --to embedded"
        assert server.names() == {NAME}


@pytest.mark.slow
def test_tools_that_were_trained_on_are_served_by_a_newer_server(tmp_path: Path) -> None:
    with scene(tmp_path, "0.40.0", "other JSON") as (server, trained):
        trained.add_run(chats={"train": [with_tools()], "test": [with_tools("Paris")]})
        bench: Workbench = trained.bench(server.url)
        found, sentence = prompts_of(bench.models.deployment.deploy())
        assert found == "as trained"
        assert "tool calls" in sentence


def with_tools(city: str = "Oslo") -> Chat:
    turns = Conversation.from_turns(
        [("user", f"How is the weather in {city}?"), ("assistant", "It rains.")]
    ).messages
    call = ToolCall(id="c1", name="get_weather", arguments={"city": city})
    asked = Message(id="a", role="assistant", tool_calls=(call,))
    told = Message(id="t", role="tool", content=turns[1].content, tool_call_id="c1")
    return (turns[0], asked, told, turns[1])


# The rule by itself


def training(messages: Sequence[Message], tools: Sequence[object] = ()) -> str:
    return f"{len(tools)} {'get_weather' if tools else ''} {messages[-1].text}"


def other(messages: Sequence[Message], tools: Sequence[object] = ()) -> str:
    return training(messages, tools).upper()


def none(_messages: Sequence[Message], _tools: Sequence[object] = ()) -> str | None:
    return None


def refusing(_messages: Sequence[Message], _tools: Sequence[object] = ()) -> str | None:
    raise DataError("the model does not support tools")


def dead(_messages: Sequence[Message], _tools: Sequence[object] = ()) -> str | None:
    raise RuntimeFailedError("out of memory")


@pytest.mark.parametrize(
    ("served", "base", "untrained", "trained"),
    [
        (training, dead, "as trained", "as trained"),
        (none, dead, "not shown", "not shown"),
        (other, other, "as the base", "other"),
        (other, training, "other", "other"),
        (other, None, "other", "other"),
        (refusing, refusing, "refused as the base", "refused"),
        (refusing, None, "refused as the base", "refused"),
        (refusing, other, "refused", "refused"),
    ],
)
def test_the_rule(served: object, base: object, untrained: str, trained: str) -> None:
    for is_trained, expected in ((False, untrained), (True, trained)):
        found = check_tools(training, served, base, is_trained=is_trained)  # type: ignore[arg-type]
        assert found.standing == expected
        assert found.is_fine == (found.cause == "")
        assert (found.cause == "tools_refused") == (expected == "refused")


def test_a_base_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(RuntimeFailedError):
        check_tools(training, other, dead, is_trained=False)


def test_a_template_without_tools_asks_nothing() -> None:
    found = check_tools(lambda _m, _t=(): "plain", dead, dead, is_trained=True)  # type: ignore[misc]
    assert found.standing == "no tools"


def test_the_stand_in_writes_tools_as_go_does() -> None:
    """Tools are JSON; a tool's parameters alone are a bare Go struct (since Ollama 0.14)."""
    template = "{{ range .Tools }}{{ . }}|{{ .Function.Parameters }}{{ end }}{{ .Messages }}"
    text = render_chat(template, [{"role": "user", "content": ""}], [TOOL])
    assert text.startswith(
        '{"type":"function","function":{"name":"get_weather","description":"Tell the weather of '
        'a city.","parameters":{"type":"object","required":["city"],"properties":{"city":'
        '{"type":"string"}}}}}|{object <nil> <nil> [city] {"city":{"type":"string"}}}'
    )
