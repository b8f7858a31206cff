"""Clients for Python, as they are: each chats, streams, calls tools, asks for JSON, embeds.

Run by ``make test-clients`` in an environment of its own: ``of_python.py URL MODEL``.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

ASK = [{"role": "user", "content": "Say hello."}]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}},
    "required": ["a"],
    "additionalProperties": False,
}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Weather of a city", "parameters": PARAMETERS},
}
FEW = {"temperature": 0, "num_predict": 12}
JSON_ROOM = {"temperature": 0, "num_predict": 60}


def of_ollama(url: str, model: str) -> dict[str, Callable[[], Any]]:
    ollama = importlib.import_module("ollama")

    client = ollama.Client(url)
    return {
        "chat": lambda: client.chat(model, ASK, options=FEW).message.content,
        "stream": lambda: "".join(
            part.message.content or "" for part in client.chat(model, ASK, options=FEW, stream=True)
        ),
        "tools": lambda: client.chat(model, ASK, tools=[TOOL], options=FEW).message.role,
        "JSON": lambda: is_json(client.chat(model, ASK, format=SCHEMA, options=JSON_ROOM)),
        "embed": lambda: (
            len(client.embed(model, [f"text {n}" for n in range(300)]).embeddings) == 300
        ),
        "list, show, ps": lambda: client.list().models and client.show(model) and client.ps(),
    }


def of_openai(url: str, model: str) -> dict[str, Callable[[], Any]]:
    openai = importlib.import_module("openai")

    client: Any = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    few = {"model": model, "messages": ASK, "temperature": 0, "max_tokens": 12}
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA, "strict": True}}

    def called() -> Any:
        answer = client.chat.completions.create(
            **{**few, "max_tokens": 80}, tools=[TOOL], tool_choice="required"
        )
        (call,) = answer.choices[0].message.tool_calls
        return call.function.name == "weather"

    def streamed() -> str:
        chunks = client.chat.completions.create(**few, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    return {
        "chat": lambda: client.chat.completions.create(**few).choices[0].message.content,
        "stream": streamed,
        "tools": called,
        "JSON": lambda: json.loads(
            client.chat.completions.create(**{**few, "max_tokens": 60}, response_format=form)
            .choices[0].message.content
        ),
        "embed": lambda: client.embeddings.create(model=model, input=["a", "b"]).data[1].embedding,
        "responses": lambda: client.responses.create(
            model=model, input="Say hello.", max_output_tokens=12
        ).output_text,
        "responses, streamed": lambda: [
            event.type for event in client.responses.create(
                model=model, input="Say hello.", max_output_tokens=12, stream=True
            )
        ][-1] == "response.completed",
    }  # fmt: skip


def of_langchain_ollama(url: str, model: str) -> dict[str, Callable[[], Any]]:
    langchain = importlib.import_module("langchain_ollama")

    chat: Any = langchain.ChatOllama(model=model, base_url=url, temperature=0, num_predict=12)
    longer: Any = langchain.ChatOllama(
        model=model, base_url=url, temperature=0, num_predict=60, format=SCHEMA
    )
    embeddings = langchain.OllamaEmbeddings(model=model, base_url=url)
    return {
        "chat": lambda: chat.invoke("Say hello.").content,
        "stream": lambda: "".join(part.content for part in chat.stream("Say hello.")),
        "tools": lambda: chat.bind_tools([TOOL]).invoke("Say hello.") is not None,
        "JSON": lambda: json.loads(longer.invoke("Say hello.").content),
        "embed": lambda: len(embeddings.embed_documents(["x"] * 300)) == 300,
        "generate": lambda: langchain.OllamaLLM(model=model, base_url=url, num_predict=8).invoke(
            "Hello"
        ),
    }


def of_langchain_openai(url: str, model: str) -> dict[str, Callable[[], Any]]:
    langchain = importlib.import_module("langchain_openai")

    more: Any = {"model": model, "base_url": f"{url}/v1", "api_key": "none"}
    chat: Any = langchain.ChatOpenAI(**more, temperature=0, max_tokens=12)
    longer: Any = langchain.ChatOpenAI(**more, temperature=0, max_tokens=80)
    embeddings = langchain.OpenAIEmbeddings(**more, check_embedding_ctx_length=False)
    tokens = langchain.OpenAIEmbeddings(
        **more, tiktoken_enabled=False, check_embedding_ctx_length=False
    )
    return {
        "chat": lambda: chat.invoke("Say hello.").content,
        "stream": lambda: "".join(part.content for part in chat.stream("Say hello.")),
        "tools": lambda: longer.bind_tools([TOOL], tool_choice="required")
        .invoke("Weather in Rome?")
        .tool_calls,
        "JSON": lambda: longer.with_structured_output(SCHEMA | {"title": "r"}, method="json_schema")
        .invoke("Say hello."),
        "embed": lambda: len(embeddings.embed_documents(["x"] * 300)) == 300,
        "embed as text": lambda: tokens.embed_query("x"),
    }  # fmt: skip


def of_litellm(url: str, model: str) -> dict[str, Callable[[], Any]]:
    litellm: Any = importlib.import_module("litellm")

    litellm.suppress_debug_info = True

    def ask(provider: str, **more: Any) -> Any:
        base = f"{url}/v1" if provider == "openai" else url
        return litellm.completion(
            f"{provider}/{model}", ASK, api_base=base, api_key="none", **{"max_tokens": 12, **more}
        )

    def said(provider: str, **more: Any) -> Any:
        return ask(provider, **more).choices[0].message.content

    return {
        "chat": lambda: said("ollama_chat", temperature=0, keep_alive="5m"),
        "generate": lambda: said("ollama", temperature=0, keep_alive="5m"),
        "chat, OpenAI's": lambda: said("openai", temperature=0),
        "stream": lambda: "".join(
            part.choices[0].delta.content or "" for part in ask("ollama_chat", stream=True)
        ),
        "tools": lambda: ask("ollama_chat", tools=[TOOL]).choices[0].message.role,
        "JSON": lambda: json.loads(
            said("ollama_chat", max_tokens=60, response_format={
                "type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}})
        ),
        "embed": lambda: litellm.embedding(f"ollama/{model}", ["a", "b"], api_base=url).data,
    }  # fmt: skip


def is_json(answer: Any) -> bool:
    return "a" in json.loads(answer.message.content)


def main(url: str, model: str) -> int:
    """Try all; print a line each; return how many failed."""
    failed = 0
    for client in (of_ollama, of_openai, of_langchain_ollama, of_langchain_openai, of_litellm):
        for what, attempt in client(url, model).items():
            try:
                outcome = "ok" if attempt() else "FAILED: the answer is empty"
            except Exception as error:  # noqa: BLE001 - a client may raise anything
                outcome = f"FAILED: {type(error).__name__}: {str(error)[:300]}"
                traceback.print_exc(file=sys.stderr)
            failed += outcome != "ok"
            print(f"{client.__name__[3:]:18} {what:20} {outcome}", flush=True)  # noqa: T201
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
