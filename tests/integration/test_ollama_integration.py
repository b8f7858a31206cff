"""What a chatbot imports: which model to ask for, switching, a record of turns, a whole chat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fine_tuning.core.errors import (
    DeploymentError,
    FineTuningError,
    ModelNotFoundError,
    RuntimeUnavailableError,
)
from fine_tuning.core.ports import AliasingRuntime, ModelRecipe, Sampling
from fine_tuning.integration.ollama_integration import OllamaIntegration
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from tests.ollama_stand_in.server import StandIn
from tests.workbench.on_ollama import trained_on_ollama
from tests.workbench.trained import NAME, Trained, write_trained

ALIAS = "fine_tuned_support:champion"
FIRST, SECOND = "fine_tuned_support:1", "fine_tuned_support:2"
HERE = "deployment.runtime=embedded"
SHORT = Sampling(max_tokens=6)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def chatbot(trained: Trained, *overrides: str) -> OllamaIntegration:
    base = f"training.base_model={trained.name}"
    return OllamaIntegration(
        trained.home, overrides=("deployment.family=support", base, *overrides)
    )


def serve(trained: Trained, runtime: AliasingRuntime, place: str, number: int, base: str) -> None:
    """Train a version and serve it; what proves it has tests of its own."""
    folder = trained.add_run(number)
    version = trained.bench().models.register.register(
        trained.bench().models.runs.find(folder.name)
    )
    name = f"fine_tuned_{version.name}"
    recipe = ModelRecipe(base=base, adapter=folder / "adapter" / "adapter.gguf")
    info = runtime.create(name, recipe)
    books = ModelRegistry(trained.home / "models")
    books.deployments.record(version.name, place, name, digest=info.digest)


def two_served(folder: Path) -> Trained:
    trained = write_trained(folder)
    runtime = EmbeddedRuntime(trained.home / "models" / "embedded")
    for number in (1, 2):
        serve(trained, runtime, "embedded", number, str(trained.base))
    return trained


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two versions on the embedded runtime, neither given to the chatbot."""
    return two_served(tmp_path_factory.mktemp("served"))


def recorded(trained: Trained) -> list[list[str]]:
    """Return the texts of every recorded conversation."""
    return [[m.text for m in one.messages] for one in trained.bench().data.conversations()]


def test_before_anything_is_deployed_it_is_the_base(tmp_path: Path) -> None:
    trained = write_trained(tmp_path)
    bot = chatbot(trained, HERE)
    assert bot.model("anyone") == str(trained.base)
    assert bot.models() == []
    with pytest.raises(FineTuningError):
        bot.rollback()
    with pytest.raises(ModelNotFoundError):
        bot.switch("support:1")


def test_switching_moves_the_one_name_a_chatbot_asks_for(served: Trained) -> None:
    bot = chatbot(served, HERE)
    with pytest.raises(ModelNotFoundError, match="support:7"):
        bot.switch("support:7")
    assert bot.switch("support:1") == "support:1"
    assert bot.model() == ALIAS
    assert bot.models() == [FIRST, SECOND, ALIAS]
    assert bot.switch("support:2") == "support:2"
    assert bot.model() == ALIAS
    assert [bot.rollback(), bot.rollback()] == ["support:1", "support:base"]
    with pytest.raises(DeploymentError, match="from its start"):
        bot.rollback()


def test_a_session_stays_with_its_version(served: Trained) -> None:
    bot, bench = chatbot(served, HERE), served.bench()
    bot.switch("support:1")
    bench.models.aliases.switcher().split("support:2", 0.4)
    sessions = [f"session-{number}" for number in range(60)]
    routes = [bot.model(session) for session in sessions]
    assert set(routes) == {ALIAS, SECOND}
    assert [chatbot(served, HERE).model(session) for session in sessions] == routes
    bench.models.aliases.end_split()
    assert {bot.model(session) for session in sessions} == {ALIAS}


def test_a_chat_is_streamed_and_recorded(served: Trained) -> None:
    bot = chatbot(served, HERE)
    bot.switch("support:1")
    with bot.chat("someone", sampling=SHORT) as chat:
        pieces = list(chat.say("Tell me about owls."))
        assert len(pieces) > 1
        assert chat.model_name == ALIAS
        assert chat.rate(1)
    with bot.chat(model=SECOND, sampling=SHORT) as chat:
        other = "".join(chat.say("Tell me about owls."))
    assert other != "".join(pieces)
    versions = [
        one.path()[1].metadata["version"] for one in served.bench().context.store.conversations()
    ]
    assert versions == ["support:1", "support:2"]
    texts = ("".join(pieces), other)
    assert recorded(served) == [["Tell me about owls.", text] for text in texts]
    bot.switch("support:base")
    with bot.chat(sampling=SHORT) as chat:
        base = "".join(chat.say("Tell me about owls."))
    assert base not in {"", other, "".join(pieces)}
    with pytest.raises(ModelNotFoundError), bot.chat(model="nobody"):
        pass


def test_turns_are_logged_unless_the_settings_say_no(tmp_path: Path) -> None:
    trained = write_trained(tmp_path)
    first = chatbot(trained).log("Hi?", "Hello.", {"model": "m"}, session_id="one")
    assert first
    assert chatbot(trained).log("And?", "So.", session_id="one") != first
    assert recorded(trained) == [["Hi?", "Hello.", "And?", "So."]]
    silent = chatbot(trained, "data_collection.enabled=false")
    assert silent.log("Secret", "Nothing") == ""
    assert len(recorded(trained)) == 1


@pytest.fixture(scope="module")
def on_ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trained, StandIn]]:
    with trained_on_ollama(tmp_path_factory.mktemp("on-ollama")) as (trained, server):
        runtime = OllamaRuntime(OllamaClient(server.url))
        serve(trained, runtime, runtime.name, 1, NAME)
        yield trained, server
        runtime.client.close()


def test_on_ollama_the_names_are_its_own(on_ollama: tuple[Trained, StandIn]) -> None:
    trained, server = on_ollama
    bot = chatbot(trained, f"deployment.ollama_base_url={server.url}")
    assert bot.models() == [FIRST, NAME]
    bot.switch("support:1")
    assert bot.models() == [FIRST, ALIAS, NAME]
    with bot.chat(sampling=SHORT) as chat:
        tuned = "".join(chat.say("Tell me about tea."))
    with bot.chat(model=NAME, sampling=SHORT) as chat:
        assert "".join(chat.say("Tell me about tea.")) not in {"", tuned}
    with pytest.raises(ModelNotFoundError, match="nobody"), bot.chat(model="nobody"):
        pass


def test_an_ollama_in_use_that_is_gone_is_told(on_ollama: tuple[Trained, StandIn]) -> None:
    """The embedded runtime knows none of its models, so it does not step in."""
    trained, server = on_ollama
    chatbot(trained, f"deployment.ollama_base_url={server.url}").switch("support:1")
    server.stop()
    bot = chatbot(trained, f"deployment.ollama_base_url={server.url}")
    with pytest.raises(RuntimeUnavailableError, match="no Ollama server answers") as caught:
        bot.models()
    assert caught.value.next_command
