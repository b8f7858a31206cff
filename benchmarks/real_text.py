"""Real conversations for benchmarks and tests, read from packages a machine may have installed.

    chitchat-dataset (PyPI, MIT)    7,168 chats between people, BYU Chit-Chat Challenge, 2018
    perl-doc (Debian, Perl terms)   the questions and answers of perlfaq1 to perlfaq9

Neither is part of this project, and nothing is downloaded here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from fine_tuning.core.conversation import Conversation, Message, Part, Role
from fine_tuning.core.errors import MissingDependencyError
from fine_tuning.core.naming import content_name

PERL_FAQ = "perl/5.*/pod/perlfaq[1-9].pod"
_LINK = re.compile(r"L<(?:([^<>|]*)\|)?([^<>]*)>")
_STYLE = re.compile(r"[BCFIS]<<+\s(.*?)\s>>+|[BCFIS]<([^<>]*)>", flags=re.DOTALL)
_DROPPED = re.compile(r"[XZ]<[^<>]*>")
_ESCAPES = {"E<lt>": "<", "E<gt>": ">", "E<sol>": "/", "E<verbar>": "|"}
_FOUND = re.compile(r"^Found in .*\n", flags=re.MULTILINE)


def chitchat_conversations() -> Iterator[Conversation]:
    """Yield the chats of chitchat-dataset; who speaks first is the user, the other the assistant.

    Messages sent in a row by one person are one message. Ratings, the prompt and nothing else
    stand in the metadata. 3,150 chats are one-sided, and 936 are exact copies.

    Raises:
        MissingDependencyError: if the package is not installed.
    """
    for name, raw in json.loads(chitchat_path().read_bytes()).items():
        yield _chat(name, raw)


def chitchat_path() -> Path:
    """Return the data file of chitchat-dataset.

    Raises:
        MissingDependencyError: if the package is not installed.
    """
    found = find_spec("chitchat_dataset")
    if found is None or found.origin is None:
        raise MissingDependencyError(
            "chitchat-dataset is not installed", next_command="pip install chitchat-dataset==0.9.0"
        )
    return Path(found.origin).parent / "dataset.json"


def _chat(name: str, raw: dict[str, Any]) -> Conversation:
    said = [item for group in raw["messages"] for item in group]
    first = said[0]["sender"] if said else ""
    messages: list[Message] = []
    for sender, items in groupby(said, key=lambda item: item["sender"]):
        own = list(items)
        role: Role = "user" if sender == first else "assistant"
        messages.append(
            Message(
                id=f"{name}/{len(messages)}",
                role=role,
                content=(Part(text="\n".join(item["text"] for item in own)),),
                parent_id=messages[-1].id if messages else None,
                created_at=own[0]["timestamp"],
            )
        )
    return Conversation(
        id=name,
        messages=tuple(messages),
        source="import:chitchat",
        source_ref=name,
        title=raw.get("prompt") or "",
        created_at=raw.get("start") or "",
        metadata={"ratings": raw.get("ratings") or {}},
    )


def perl_faq_pairs(pods: Path = Path("/usr/share")) -> Iterator[Conversation]:
    """Yield one question and its answer per entry of Perl's FAQ; code is kept, markup is not.

    Args:
        pods: The folder under which ``perl/5.*/pod/perlfaq*.pod`` lie.

    Raises:
        MissingDependencyError: if there are none.
    """
    # A folder for the release and one for the series may hold the same pages under two names.
    pages = {path.name: path for path in sorted(pods.glob(PERL_FAQ))}
    if not pages:
        raise MissingDependencyError(
            f"no {PERL_FAQ} under {pods}", next_command="sudo apt-get install perl-doc"
        )
    for page in sorted(pages):
        for question, answer in _entries(pages[page].read_text(encoding="utf-8")):
            ref = content_name([page, question])
            yield Conversation.from_turns(
                [("user", question), ("assistant", answer)],
                id=ref,
                source="import:perlfaq",
                source_ref=ref,
                title=page.removesuffix(".pod"),
            )


def _entries(pod: str) -> Iterator[tuple[str, str]]:
    """Yield the ``=head2`` questions of a page with the text up to the next heading."""
    for section in re.split(r"^=head1 .*$", pod, flags=re.MULTILINE):
        for entry in re.split(r"^=head2 ", section, flags=re.MULTILINE)[1:]:
            question, _, body = entry.partition("\n\n")
            answer = _plain(re.sub(r"^=(over|back|cut|encoding).*$", "", body, flags=re.MULTILINE))
            if answer:
                yield " ".join(_plain(question).split()), answer


def _plain(pod: str) -> str:
    """Return a text without Perl's markup; indented blocks are code and stay as they are."""
    text = re.sub(r"^=item\s+", "", pod, flags=re.MULTILINE)
    blocks = [block if block[:1].isspace() else _unmark(block) for block in text.split("\n\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join(block.rstrip() for block in blocks)).strip("\n")


def _unmark(block: str) -> str:
    text, before = _FOUND.sub("", _DROPPED.sub("", block)), ""
    while text != before:
        before = text
        text = _LINK.sub(_link_text, text)
        text = _STYLE.sub(lambda found: found[1] or found[2] or "", text)
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text


def _link_text(found: re.Match[str]) -> str:
    target = found[2]
    return found[1] or (target if "://" in target else target.replace("/", " "))
