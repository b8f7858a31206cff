"""Proofs of served models: the right one holds, each planted fault is named."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.conversation import Messages
from fine_tuning.core.errors import DataError
from fine_tuning.core.ports import GREEDY, ModelRecipe, Sampling, ServedReply, ServedToken
from fine_tuning.model_management.diagnosis import (
    Answered,
    divergence,
    probabilities_distance,
    token_agreement,
)
from fine_tuning.model_management.proof import LONG_REPLY_TOKENS, MIN_PROMPTS, prove
from fine_tuning.model_management.proof_parts import (
    CAUSES,
    EXCUSES,
    OUTCOMES,
    Proof,
    ProofPart,
)
from fine_tuning.model_management.reference import Followed, FollowedToken
from fine_tuning.model_management.reply_diagnosis import ending_part
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.embedded_served import EmbeddedServedModel
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from fine_tuning.workbench.models.engine_reference import EngineReference, open_reference
from tests.ollama_stand_in.adapters import rescaled
from tests.ollama_stand_in.generations import Faults
from tests.ollama_stand_in.server import StandIn
from tests.runtimes.models import ask
from tests.runtimes.tiny_chat import write_tiny_adapter, write_tiny_chat

TOPICS = (
    "owls", "tea", "rain", "trains", "the moon", "bread", "chess", "glass", "rivers", "salt",
    "clocks", "maps", "wool", "ferns", "bells", "kites",
)  # fmt: skip
PROMPTS = [ask(f"Tell me about {topic}.") for topic in TOPICS]
LONGEST_TOKENS = 300
ROOM_TOKENS = 1024
OTHER_TEMPLATE = (
    "{% for message in messages %}### {{ message['role'] }}\n{{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}### assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Files:
    base: Path
    other_base: Path
    adapter: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("proof")
    return Files(
        write_tiny_chat(folder / "base.gguf", ends=True),
        write_tiny_chat(folder / "other.gguf", seed=9, ends=True),
        write_tiny_adapter(folder / "adapter.gguf", seed=3, scale=0.3),
    )


@pytest.fixture(scope="module")
def reference(files: Files) -> Iterator[EngineReference]:
    with open_reference(files.base, files.adapter, threads=1) as opened:
        yield opened


def proof_of(
    reference: EngineReference, base: Path, adapter: Path | None, **settings: Any
) -> Proof:
    settings = {"context_tokens": ROOM_TOKENS, **settings}
    with EmbeddedServer(base, adapter=adapter, threads=1, name="tuned", **settings) as server:
        served = EmbeddedServedModel(server)
        return prove(served, reference, PROMPTS, longest_prompt_tokens=LONGEST_TOKENS)


@pytest.fixture(scope="module")
def tuned(files: Files) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(
        files.base, adapter=files.adapter, threads=1, context_tokens=ROOM_TOKENS
    ) as server:
        yield server


def test_the_right_model_is_proven(tuned: EmbeddedServer, reference: EngineReference) -> None:
    steps: list[tuple[int, int]] = []
    proof = prove(
        EmbeddedServedModel(tuned),
        reference,
        PROMPTS,
        longest_prompt_tokens=LONGEST_TOKENS,
        progress=lambda _, done, total: steps.append((done, total)),
    )
    assert proof.holds, proof.sentence
    assert [part.outcome for part in proof.parts] == ["holds"] * 4
    assert proof.part("prompt").figures["long_prompt_tokens"] >= LONGEST_TOKENS
    assert proof.part("output").figures["token_agreement"] > 0.95
    distances = proof.part("output").figures["distance_by_strength"]
    assert distances["0"] > 10 * distances["1"]
    assert proof.part("speed").figures["tokens_per_s"] > 0
    assert Proof.from_dict(proof.to_dict()) == proof
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


@pytest.mark.slow
def test_an_ignored_adapter_is_named(files: Files, reference: EngineReference) -> None:
    proof = proof_of(reference, files.base, None)
    assert proof.causes == ("adapter_ignored",)
    assert not proof.holds


@pytest.mark.slow
@pytest.mark.parametrize("factor", [4.0, 0.25])
def test_another_strength_is_named(
    files: Files, reference: EngineReference, tmp_path: Path, factor: float
) -> None:
    proof = proof_of(reference, files.base, rescaled(files.adapter, factor, tmp_path))
    assert proof.causes == ("adapter_scale",)
    assert f"{factor:g} times" in proof.sentence


@pytest.mark.slow
def test_another_base_is_named(files: Files, reference: EngineReference) -> None:
    for adapter in (files.adapter, None):
        assert proof_of(reference, files.other_base, adapter).causes == ("wrong_base",)


@pytest.mark.slow
def test_another_template_is_named(files: Files, reference: EngineReference) -> None:
    proof = proof_of(reference, files.base, files.adapter, chat_template=OTHER_TEMPLATE)
    assert proof.causes == ("wrong_template",)
    assert "### user" in proof.sentence


def test_too_little_room_is_named(files: Files, reference: EngineReference) -> None:
    proof = proof_of(reference, files.base, files.adapter, context_tokens=256)
    assert proof.causes == ("prompt_refused",)


class _Dying(EmbeddedServedModel):
    """A served model whose server is closed after so many replies."""

    def __init__(self, server: EmbeddedServer, replies: int) -> None:
        super().__init__(server)
        self.left = replies

    def complete(
        self, messages: Messages, sampling: Sampling = GREEDY, *, top_log_probabilities: int = 0
    ) -> ServedReply:
        if not self.left:
            self._server.close()
        self.left -= 1
        return super().complete(messages, sampling, top_log_probabilities=top_log_probabilities)


@pytest.mark.parametrize(("replies", "failing"), [(3, "prompt"), (9, "output")])
def test_a_server_that_dies_is_named(
    files: Files, reference: EngineReference, replies: int, failing: str
) -> None:
    with ExitStack() as stack:
        server = EmbeddedServer(
            files.base, adapter=files.adapter, threads=1, context_tokens=ROOM_TOKENS
        )
        stack.callback(server.close)
        dying = _Dying(server, replies)
        proof = prove(dying, reference, PROMPTS, longest_prompt_tokens=LONGEST_TOKENS)
    assert proof.causes == ("server_died",)
    assert proof.part(failing).outcome == "fails"
    assert f"after {replies} replies" in proof.sentence


class _Silent(EmbeddedServedModel):
    """A server as old ones are: it shows no prompt, counts no tokens, tells no probabilities."""

    counts = True

    def rendered_prompt(
        self, _messages: Messages, _tools: Sequence[Mapping[str, Any]] = ()
    ) -> str | None:
        return None

    def complete(
        self, messages: Messages, sampling: Sampling = GREEDY, *, top_log_probabilities: int = 0
    ) -> ServedReply:
        assert top_log_probabilities
        reply = super().complete(messages, sampling)
        return reply if self.counts else ServedReply(text=reply.text, ended=reply.ended)


class _Mute(_Silent):
    counts = False


def test_old_servers_are_proven_by_counts_and_tokens(
    tuned: EmbeddedServer, reference: EngineReference
) -> None:
    right = prove(_Silent(tuned), reference, PROMPTS, longest_prompt_tokens=LONGEST_TOKENS)
    assert right.holds, right.sentence
    prompt = right.part("prompt")
    assert prompt.outcome == "cannot tell"
    assert "could not be checked: this server shows no prompts" in prompt.sentence
    assert "as many tokens" in prompt.sentence
    assert "could not be checked: this server shows no prompts" in right.sentence
    assert right.part("ending").outcome == "holds"
    assert right.part("output").figures["by"] == "tokens"
    mute = prove(_Mute(tuned), reference, PROMPTS, longest_prompt_tokens=LONGEST_TOKENS)
    assert mute.holds
    assert "nor does it tell their lengths" in mute.part("prompt").sentence


# What may stay open


def part(name: str, outcome: str, **more: Any) -> ProofPart:
    return ProofPart(name=name, outcome=outcome, sentence=name, **more)  # type: ignore[arg-type]


HOLDING = {name: part(name, "holds") for name in ("prompt", "ending", "output", "speed")}
OPEN: dict[str, tuple[ProofPart, bool]] = {
    "prompts are not shown": (part("prompt", "cannot tell", excuse="no prompts shown"), True),
    "no end was due": (part("ending", "cannot tell", excuse="no reply was due to end"), True),
    "no figures": (part("speed", "cannot tell", excuse="no figures told"), True),
    "the prompt is open": (part("prompt", "cannot tell"), False),
    "the end is open": (part("ending", "cannot tell"), False),
    "the output is open": (part("output", "cannot tell"), False),
    "the speed fails": (part("speed", "fails", cause="server_died"), False),
    "the end fails": (part("ending", "fails", cause="missing_stop_token"), False),
}


@pytest.mark.parametrize("what", OPEN)
def test_what_is_open_needs_an_excuse(what: str) -> None:
    one, may_stand = OPEN[what]
    proof = Proof(model="m", parts=tuple((HOLDING | {one.name: one}).values()))
    assert proof.holds == may_stand
    assert one.sentence in proof.sentence
    assert ("is served as it was trained" in proof.sentence) == may_stand


@pytest.mark.parametrize("missing", ["prompt", "ending", "output"])
def test_a_part_that_is_missing_is_open(missing: str) -> None:
    parts = tuple(one for name, one in HOLDING.items() if name != missing)
    assert not Proof(model="m", parts=parts).holds


def answered(*, ended: bool, tokens: tuple[str, ...] | None = (" a", " b")) -> Answered:
    entries = None if tokens is None else tuple(ServedToken(text, -0.1) for text in tokens)
    return Answered(ask("Hi"), ServedReply(text=" a b", ended=ended, entries=entries))


def read(*stops: float, gap: float = 9.0) -> Followed:
    tokens = tuple(FollowedToken(text, -0.1, -0.1) for text in (" a", " b"))
    end = FollowedToken("<|im_end|>", -gap, 0.0)
    return Followed(likeliest=({},), tokens=tokens, stop_log_probabilities=stops, stop=end)


@pytest.mark.parametrize(
    ("one", "followed", "outcome", "cause"),
    [
        (answered(ended=True), read(-9, -9, -0.1, gap=0.0), "holds", ""),
        (answered(ended=True, tokens=(" ", "a b")), read(-9, -9, -1, gap=0.0), "holds", ""),
        (answered(ended=True), read(-9, -9, -9), "fails", "wrong_stop_token"),
        (answered(ended=False), read(-9, -0.1, -9), "fails", "missing_stop_token"),
        (answered(ended=False), read(-9, -9, -9), "cannot tell", ""),
    ],
)
def test_how_replies_ended(one: Answered, followed: Followed, outcome: str, cause: str) -> None:
    found = ending_part("<|im_end|>", [one] * 16, [followed] * 16)
    assert (found.outcome, found.cause) == (outcome, cause)
    if outcome == "cannot tell":
        assert found.excuse == "no reply was due to end"
        assert "the trained model itself ends none of 16 replies within 2 tokens" in found.sentence
    unknown = ending_part("<|im_end|>", [one], None)
    assert (unknown.outcome, unknown.may_stand) == ("cannot tell", False)


@pytest.mark.slow
def test_long_replies_are_waited_for(tmp_path: Path) -> None:
    """A base that never ends its turn: more is asked for, and then it is said."""
    base = write_tiny_chat(tmp_path / "endless.gguf", llama__context_length=2048)
    adapter = write_tiny_adapter(tmp_path / "adapter.gguf", seed=3, scale=0.3)
    with (
        open_reference(base, adapter, threads=1) as endless,
        EmbeddedServer(base, adapter=adapter, threads=1, context_tokens=2048) as server,
    ):
        proof = prove(EmbeddedServedModel(server), endless, PROMPTS, longest_prompt_tokens=0)
    assert proof.holds, proof.sentence
    ending = proof.part("ending")
    assert ending.figures["longest_reply_tokens"] == LONG_REPLY_TOKENS
    assert "itself ends none" in ending.sentence
    assert ending.sentence in proof.sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("planted", "cause"),
    [
        ({"adapter": None}, "adapter_ignored"),
        ({"strength": 4.0}, "adapter_scale"),
        ({"chat_template": OTHER_TEMPLATE}, "wrong_template"),
    ],
)
def test_what_old_servers_do_wrong_is_named(
    files: Files, reference: EngineReference, tmp_path: Path, planted: dict[str, Any], cause: str
) -> None:
    settings = {"adapter": rescaled(files.adapter, planted.pop("strength", 1.0), tmp_path)}
    with EmbeddedServer(
        files.base, threads=1, context_tokens=ROOM_TOKENS, **settings | planted
    ) as server:
        proof = prove(_Silent(server), reference, PROMPTS, longest_prompt_tokens=LONGEST_TOKENS)
    assert proof.causes == (cause,)


GO_TEMPLATE = "{{ range .Messages }}### {{ .Role }}\n{{ .Content }}\n{{ end }}### assistant\n"
PLANTED: dict[str, tuple[dict[str, Any], str]] = {
    "another template": ({"wrong_template": GO_TEMPLATE}, "wrong_template"),
    "no stop token": ({"drop_stop": True}, "missing_stop_token"),
    "four times as strong": ({"adapter_scale": 4.0}, "adapter_scale"),
    "no adapter": ({"ignore_adapter": True}, "adapter_ignored"),
    "another base": ({}, "wrong_base"),
    "long prompts cut": ({"truncate_prompt_tokens": 250}, "prompt_truncated"),
    "short prompts cut": ({"truncate_prompt_tokens": 20}, "prompt_truncated"),
    "dies at once": ({"die_after_pieces": 0}, "server_died"),
    "dies later": ({"die_after_pieces": 3}, "server_died"),
    "reports an error half-way": ({"error_after_pieces": 3}, "server_died"),
    "does not load": ({"load_error": "out of memory"}, "server_died"),
}


@pytest.fixture(scope="module")
def ollama(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with StandIn(tmp_path_factory.mktemp("ollama"), generation="0.33.0") as server:
        server.add_model("base:latest", files.base)
        client = OllamaClient(server.url)
        OllamaRuntime(client).create("tuned", ModelRecipe(base="base", adapter=files.adapter))
        client.close()
        yield server


def proof_on(server: StandIn, reference: EngineReference, faults: Mapping[str, Any]) -> Proof:
    for name, value in vars(Faults(**faults)).items():
        setattr(server.faults, name, value)
    client = OllamaClient(server.url)
    try:
        served = OllamaRuntime(client).served("tuned", context_tokens=ROOM_TOKENS)
        return prove(served, reference, PROMPTS, longest_prompt_tokens=LONGEST_TOKENS)
    finally:
        client.close()
        for name, value in vars(Faults()).items():
            setattr(server.faults, name, value)


def test_a_reply_that_ends_at_once_is_no_other_model() -> None:
    """llama.cpp tells the end of turn without its text."""
    told = ServedToken("", -0.1, (("", -0.1), (" a", math.log(0.09))))
    ended = ServedReply(text="", ended=True, entries=(told,))
    stop = FollowedToken("<|im_end|>", -0.1, -0.1)
    read = Followed(
        likeliest=({"<|im_end|>": -0.1, " a": math.log(0.09), " b": -9.0},),
        stop_log_probabilities=(-0.1,),
        stop=stop,
    )
    one = Answered(ask("Hi"), ended)
    assert probabilities_distance([one], [read]) == pytest.approx(0, abs=1e-4)
    assert token_agreement([one], [read]) == (1.0, 1)


def test_the_right_model_on_ollama_is_proven(ollama: StandIn, reference: EngineReference) -> None:
    proof = proof_on(ollama, reference, {})
    assert proof.holds, proof.sentence
    assert [part.outcome for part in proof.parts] == ["holds"] * 4


# The deployer's own tests plant these, too (tests/workbench/test_deploy.py).
SLOW = ("no stop token", "four times as strong")


@pytest.mark.parametrize(
    "fault",
    [pytest.param(one, marks=pytest.mark.slow if one in SLOW else ()) for one in PLANTED],
)
def test_what_ollama_does_wrong_is_named(
    ollama: StandIn, reference: EngineReference, files: Files, fault: str
) -> None:
    faults, cause = PLANTED[fault]
    if cause == "wrong_base":
        faults = {"wrong_base": files.other_base}
    proof = proof_on(ollama, reference, faults)
    assert proof.causes == (cause,), proof.sentence
    assert not proof.holds


def test_too_few_prompts_are_refused(tuned: EmbeddedServer, reference: EngineReference) -> None:
    with pytest.raises(DataError, match=f"{MIN_PROMPTS} or more"):
        prove(EmbeddedServedModel(tuned), reference, PROMPTS[:-1])


@given(
    st.lists(
        st.builds(
            ProofPart,
            name=st.text(),
            outcome=st.sampled_from(OUTCOMES),
            sentence=st.text(),
            cause=st.sampled_from(CAUSES),
            excuse=st.sampled_from(EXCUSES),
            figures=st.dictionaries(st.text(), st.integers()),
        )
    )
)
def test_proofs_survive_storage(parts: list[ProofPart]) -> None:
    proof = Proof(model="m", parts=tuple(parts))
    assert Proof.from_dict(proof.to_dict()) == proof


@pytest.mark.parametrize(
    "raw", [{}, {"parts": "x"}, {"parts": [1]}, {"parts": [{"name": "a", "outcome": "maybe"}]}]
)
def test_damaged_proofs_are_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        Proof.from_dict(raw)


def test_divergence_is_kullback_leibler_with_the_rest_as_one() -> None:
    served = {"a": math.log(0.5), "b": math.log(0.25)}
    told = ServedToken("a", served["a"], tuple(served.items()))
    computed = {"a": math.log(0.25), "b": math.log(0.25), "c": math.log(0.5)}
    expected = 0.5 * math.log(2) + 0.25 * math.log(0.25 / 0.5)
    assert divergence(told, computed) == pytest.approx(expected)
    assert divergence(told, {**served, "c": math.log(0.25)}) == pytest.approx(0)
