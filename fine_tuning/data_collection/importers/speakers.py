"""Who a speaker is: people and models under the names that files give them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fine_tuning.core.conversation import Role

_ROLES: dict[str, Role] = {
    "system": "system", "system_prompt": "system", "system_message": "system",
    "instructions": "system", "developer": "developer",
    "user": "user", "human": "user", "prompter": "user", "person": "user", "me": "user",
    "you": "user", "customer": "user", "client": "user", "visitor": "user", "guest": "user",
    "student": "user", "patient": "user", "question": "user", "asker": "user", "prompt": "user",
    "user_name": "user", "username": "user", "end_user": "user", "q": "user", "usr": "user",
    "benutzer": "user", "nutzer": "user", "utilisateur": "user", "usuario": "user",
    "assistant": "assistant", "ai": "assistant", "bot": "assistant", "chatbot": "assistant",
    "model": "assistant", "llm": "assistant", "agent": "assistant", "answer": "assistant",
    "response": "assistant", "completion": "assistant", "reply": "assistant", "char": "assistant",
    "character": "assistant", "ai_assistant": "assistant", "bot_name": "assistant",
    "machine": "assistant", "a": "assistant", "assistent": "assistant", "asistente": "assistant",
    "function_call": "assistant", "tool_call": "assistant",
    "tool": "tool", "observation": "tool", "function": "tool", "function_response": "tool",
    "tool_response": "tool", "tool_result": "tool", "ipython": "tool", "environment": "tool",
}  # fmt: skip
_FAMILIES = re.compile(
    r"(?:^|_)(?:chat_?gpt|gpt|o[134](?=_|$)|davinci|openai|claude|anthropic|llama|alpaca|vicuna|"
    r"koala|gemini|gemma|bard|palm|mistral|mixtral|magistral|codestral|ministral|qwen|qwq|deepseek|"
    r"phi(?=_?\d|$)|bing|copilot|sydney|grok|command_?r|cohere|falcon|yi_?\d|glm|chatglm|kimi|"
    r"hermes|wizard_?lm|zephyr|orca|starling|solar|granite|nemotron|olmo|smollm|internlm|baichuan|"
    r"ernie|hunyuan|minimax|exaone|dolphin|openchat|perplexity|sonar|bloom|dolly|mpt|tulu|"
    r"stable_?lm|jamba|doubao|moonshot|nous|airoboros|guanaco|oasst|ollama|codellama|tinyllama)"
)
_PERSON = re.compile(r"(?:human|user|person|customer|speaker_?a|participant)_?\w{0,3}")
_MODEL = re.compile(r"(?:assistant|ai|bot|model|agent|llm)_?\w{0,3}|\w+_(?:ai|bot|assistant|llm)")


def speaker_role(speaker: object) -> Role | None:
    """Return the role of a speaker by the name in a file; None for a name that says nothing.

    Args:
        speaker: A role in any spelling, or the name of a model of a family known here.
    """
    name = re.sub(r"[\s\-:.]+", "_", str(speaker).strip().strip("<|>[]{}").lower()).strip("_")
    if found := _ROLES.get(name):
        return found
    if _FAMILIES.search(name):
        return "assistant"
    if _PERSON.fullmatch(name):
        return "user"
    return "assistant" if _MODEL.fullmatch(name) else None


def speaker_roles(speakers: Iterable[object]) -> dict[str, Role]:
    """Return the roles of a conversation's speakers by their names, as far as they are known.

    A name that says nothing is the side that is missing: the person with whom a model speaks, or
    the model with whom a person does.
    """
    names = list(dict.fromkeys(map(str, speakers)))
    found = {name: role for name in names if (role := speaker_role(name)) is not None}
    unknown = [name for name in names if name not in found]
    sides = {"user", "assistant"} & set(found.values())
    if len(unknown) == 1 and len(sides) == 1:
        found[unknown[0]] = "assistant" if sides == {"user"} else "user"
    return found
