"""llama.cpp inside this process: a full llama-server on a loopback port, silent and private.

Loads a GGUF model, with or without a LoRA adapter, and hands out its tokenizer, its prompt
renderer and its chat. It does not know names, recipes or where models come from.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from fine_tuning.core.closing import Closing
from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import DataError, RuntimeUnavailableError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.core.ports import GREEDY, Progress, PromptRenderer, Sampling
from fine_tuning.runtimes.llama_client import (
    LlamaChatModel,
    LlamaClient,
    LlamaRenderer,
    LlamaTokenizer,
    template_fingerprint,
)
from fine_tuning.runtimes.load_check import ModelFacts, check_adapter, check_model
from fine_tuning.runtimes.prompt_record import CHATML_TEMPLATE, BasePrompts
from fine_tuning.runtimes.served_prompts import RendererRules, ServedPrompts, template_prompts
from fine_tuning.runtimes.trial_load import explain_failure

SPARE_HTTP_THREADS = 4
EMBEDDED_TOKENS = 2048
"""The longest text that can be embedded."""

_MARK = "\u2063reply\u2063"


def missing_template(facts: ModelFacts) -> str:
    """Return the Jinja template a model is used with that brings none; "" if it brings its own."""
    return "" if facts.has_chat_template else CHATML_TEMPLATE


def default_threads() -> int:
    """Return ``OMP_NUM_THREADS``, else the physical cores this process may use.

    llama.cpp's threads wait for each other by spinning: more of them than free cores are slower
    than one, and hyper-threads do not help.
    """
    wished = os.environ.get("OMP_NUM_THREADS", "")
    if wished.isdecimal() and int(wished) > 0:
        return int(wished)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, allowed or 1))


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """Where a server listens, and the key it expects; for other clients in this process."""

    address: str
    key: str = field(repr=False)


class EmbeddedServer(Closing):
    """A loaded model; use it as a context manager, or call :meth:`close`.

    Args:
        model_path: A GGUF model.
        adapter: A GGUF LoRA adapter of that model.
        context_tokens: Room for prompt and reply of each conversation, in tokens; llama.cpp rounds
            it up to a multiple of 256, and caps it at the length the model was trained with.
        parallel: Conversations answered at the same time by :meth:`reply_many`.
        threads: Compute threads; None takes ``OMP_NUM_THREADS``, else the physical cores.
        chat_template: A Jinja chat template; None takes the model's own, else ChatML.
        system: What a conversation begins with when it brings no system message of its own.
        stop: Texts that end a reply, besides the model's end-of-turn token.
        name: What the chat model is called; "" takes the file's name.
        reuse_prompt: Keep what two prompts share, for long chats; see
            :class:`~fine_tuning.runtimes.llama_client.LlamaChatModel`.
        choices: Adapters that are loaded and not applied; a request names by their index those it
            wants (llama-server's field ``lora``).
        embeds: Answer with embeddings, means over the tokens, instead of replies.
        prompts: What writes the prompts, in place of ``chat_template`` and ``system``.

    Attributes:
        renderer: What writes the prompts.
        jinja_renderer: llama.cpp's own, by the Jinja template alone.

    Raises:
        ModelNotFoundError: if a file is missing.
        StorageError: if a file may not be read.
        GgufError: if a file is not sound GGUF.
        UnsupportedModelError: if llama.cpp cannot run the model, or the adapter does not fit it.
        RuntimeFailedError: if the model cannot be loaded for another reason.
    """

    def __init__(  # noqa: PLR0913 - the settings of a server, all but one optional
        self,
        model_path: Path,
        *,
        adapter: Path | None = None,
        context_tokens: int = 2048,
        parallel: int = 1,
        threads: int | None = None,
        chat_template: str | None = None,
        system: str = "",
        stop: Sequence[str] = (),
        name: str = "",
        reuse_prompt: bool = False,
        choices: Sequence[Path] = (),
        embeds: bool = False,
        prompts: BasePrompts | None = None,
    ) -> None:
        self.parallel = max(1, parallel)
        self.threads = threads or default_threads()
        facts = check_model(model_path)
        prompts = prompts or BasePrompts(jinja=chat_template or "", system=system)
        template = prompts.jinja or missing_template(facts)
        is_other = bool(template or prompts.go or prompts.asked)
        params = _parameters(model_path, template, key := secrets.token_urlsafe(24))
        params.lora_adapters = _loras(model_path, adapter, choices)
        _set_sizes(params, context_tokens, self.parallel, self.threads)
        if embeds:
            _set_embedding(params)
        self._server, self.load_s = _start(params, model_path, adapter)
        self.access = ServerAccess(self._server.listening_address, key)
        self._client = LlamaClient(self.access.address, api_key=key, connections=self.parallel)
        try:
            properties = self._client.get("/props")
            self.context_tokens: int = properties["default_generation_settings"]["n_ctx"]
            self.tokenizer = LlamaTokenizer(self._client, facts.vocabulary_fingerprint)
            self.jinja_renderer = self._jinja_renderer(prompts, properties)
            self.renderer = self._renderer(prompts, properties["eos_token"])
            # A template that is not the model's own may end turns with a text that is no token.
            turn_end = self.end_of_turn.strip() if is_other else ""
        except BaseException:
            self.close()
            raise
        self.chat_model = LlamaChatModel(
            self._client,
            self.renderer,
            name or model_path.stem,
            reuse_prompt=reuse_prompt,
            stop=dict.fromkeys([*stop, *prompts.stop, *([turn_end] if turn_end else [])]),
        )

    def _jinja_renderer(
        self, prompts: BasePrompts, properties: Mapping[str, JsonValue]
    ) -> LlamaRenderer:
        texts = [str(properties[key]) for key in ("chat_template", "bos_token", "eos_token")]
        return LlamaRenderer(
            self._client,
            template_fingerprint(texts),
            system=prompts.system,
            messages=prompts.messages,
        )

    def _renderer(self, prompts: BasePrompts, eos: str) -> PromptRenderer:
        rules = RendererRules(eos, prompts.stop)
        if prompts.asked:
            if prompts.write is None:
                raise RuntimeUnavailableError(
                    f"Ollama itself writes the prompts of {prompts.asked}, and does not answer",
                    next_command="ollama serve",
                )
            return ServedPrompts(prompts.write, content_name([*prompts.to_dict().items()]), rules)
        if not prompts.go:
            return self.jinja_renderer
        return template_prompts(
            prompts.go, system=prompts.system, messages=prompts.messages, rules=rules
        )

    @property
    def end_of_turn(self) -> str:
        """What the template writes after a reply, such as ``<|im_end|>`` and a newline; or ""."""
        turns = [
            Message(id="0", role="user", content=(Part(text="-"),)),
            Message(id="1", role="assistant", content=(Part(text=_MARK),)),
        ]
        _, mark, tail = self.renderer.render(turns, add_generation_prompt=False).rpartition(_MARK)
        return tail if mark else ""

    def prompt(self, messages: Sequence[Message]) -> str:
        """Return the prompt of messages, generation prompt included.

        Raises:
            DataError: if the template refuses the order of roles.
        """
        return self.renderer.render(messages, add_generation_prompt=True)

    def reply_many(
        self,
        conversations: Sequence[Sequence[Message]],
        sampling: Sampling = GREEDY,
        progress: Progress | None = None,
    ) -> list[str]:
        """Answer several conversations, ``parallel`` at a time in one batch.

        Args:
            conversations: The messages to answer.
            sampling: How each reply is drawn.
            progress: Called after each reply, from this thread.

        Returns:
            The replies, in the order of the conversations. With ``parallel`` above 1 a greedy
            reply may differ in a near-tie from the one given alone: the batch's sums run in
            another order.

        Raises:
            DataError: if the template refuses some messages.
            RuntimeUnavailableError: if the server was closed.
            RuntimeFailedError: if a prompt is too long, or the server reports an error.
        """
        replies = [""] * len(conversations)
        with ThreadPoolExecutor(self.parallel) as pool:
            waiting = {
                pool.submit(self.chat_model.complete, messages, sampling): index
                for index, messages in enumerate(conversations)
            }
            try:
                for done, future in enumerate(as_completed(waiting), start=1):
                    replies[waiting[future]] = future.result().text
                    if progress:
                        progress("answering", done, len(conversations))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return replies

    def next_token_log_probabilities(self, ids: Sequence[int], top: int) -> list[tuple[int, float]]:
        """Return the likeliest next tokens after a prompt of token ids.

        What the prompt shares with the previous call's is not computed again, so that growing
        prefixes of one text cost one token each.

        Args:
            ids: The prompt, special tokens included; nothing is added.
            top: How many to return.

        Returns:
            (token id, natural log-probability over the whole vocabulary), likeliest first.

        Raises:
            DataError: if the prompt is empty.
            RuntimeFailedError: if the prompt is too long.
        """
        if not ids:
            raise DataError("the prompt has no tokens, expected at least one")
        body = {
            "prompt": list(ids),
            "n_predict": 1,
            "temperature": 0.0,
            "n_probs": top,
            # Moves the draw, not the probabilities: the server leaves them out when it draws the
            # end of the reply or a part of a character.
            "logit_bias": [["a", 1e6]],
            "cache_prompt": True,
            "id_slot": 0,
        }
        answer = self._client.post("/completion", body)
        (position,) = answer["completion_probabilities"]
        return [(int(item["id"]), float(item["logprob"])) for item in position["top_logprobs"]]

    def close(self) -> None:
        """Stop the server and free the model; calling it again does nothing."""
        self._client.close()
        self._server = None

    def __enter__(self) -> Self:
        if self._server is None:
            raise RuntimeUnavailableError("this embedded server was closed, expected an open one")
        return self


def _parameters(model: Path, template: str, api_key: str) -> Any:  # noqa: ANN401 - llama.cpp's own
    """Return llama.cpp's settings of a silent server that only this process can talk to."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.verbosity = 0
    params.port = 0
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [api_key]
    params.ui = False
    params.cors_origins = ""
    params.warmup = False
    params.prefill_assistant = False
    params.chat_template = template
    # The prompt cache in RAM ignores which adapter a prompt was computed with.
    params.cache_ram_mib = 0
    return params


def _lora(path: Path, scale: float) -> Any:  # noqa: ANN401 - llama.cpp's own
    import xllamacpp

    info = xllamacpp.CommonAdapterLoraInfo()
    info.path = str(path)
    info.scale = scale
    return info


def _loras(model: Path, adapter: Path | None, choices: Sequence[Path]) -> list[Any]:
    """Return the adapter that is applied and those a request may choose, all found to fit."""
    for path in (*([adapter] if adapter else []), *choices):
        check_adapter(path, model)
    return [*([_lora(adapter, 1.0)] if adapter else []), *(_lora(path, 0.0) for path in choices)]


def _set_sizes(params: Any, context_tokens: int, parallel: int, threads: int) -> None:  # noqa: ANN401 - llama.cpp's own
    params.n_ctx = context_tokens * parallel
    params.n_parallel = parallel
    params.n_threads_http = parallel + SPARE_HTTP_THREADS
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads


def _set_embedding(params: Any) -> None:  # noqa: ANN401 - llama.cpp's own
    import xllamacpp

    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # A text is embedded in one batch.
    params.n_batch = params.n_ubatch = EMBEDDED_TOKENS


def _start(params: Any, model: Path, adapter: Path | None) -> tuple[Any, float]:  # noqa: ANN401 - llama.cpp's own
    """Return a started server and how long loading took, in seconds."""
    import xllamacpp

    begin_s = time.monotonic()
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise explain_failure(model, adapter, params.chat_template) from error
    return server, time.monotonic() - begin_s
