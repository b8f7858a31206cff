"""Hypothesis strategies for the values of core."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from fine_tuning.core.conversation import ROLES, Conversation, Message, Part, ToolCall
from fine_tuning.core.events import RunEvent
from fine_tuning.core.example import TokenizedExample
from fine_tuning.core.feedback import Feedback

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
texts = st.text(st.characters(codec="utf-8"), max_size=40)
moments = st.sampled_from(["", "2026-01-02T03:04:05.000006+00:00"])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts
)
objects = st.dictionaries(
    names,
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=5),
    max_size=3,
)

text_parts = st.builds(Part, text=texts)
other_parts = st.builds(
    Part,
    type=st.sampled_from(["image_url", "input_audio", "file"]),
    data=objects,
)
contents = st.one_of(
    st.just(()),
    st.builds(lambda text: (Part(text=text),), texts.filter(bool)),
    st.builds(lambda *parts: parts, text_parts, other_parts),
    st.builds(lambda part: (part,), other_parts),
)
tool_calls = st.builds(ToolCall, id=texts, name=names, arguments=objects)


def messages(message_id: str = "m", parent_id: str | None = None) -> st.SearchStrategy[Message]:
    """Return messages of one id and parent."""
    return st.builds(
        Message,
        **_basics(message_id, parent_id),
        name=texts,
        tool_calls=st.lists(tool_calls, max_size=2).map(tuple),
        tool_call_id=texts,
        reasoning=texts,
        model=texts,
        status=st.sampled_from(["streaming", "complete", "aborted", "error"]),
        created_at=moments,
        metadata=objects,
    )


def plain_messages(message_id: str, parent_id: str | None) -> st.SearchStrategy[Message]:
    """Return messages with a role and content only, cheap enough for whole trees."""
    return st.builds(Message, **_basics(message_id, parent_id))


def _basics(message_id: str, parent_id: str | None) -> dict[str, st.SearchStrategy[Any]]:
    return {
        "id": st.just(message_id),
        "role": st.sampled_from(ROLES),
        "content": contents,
        "parent_id": st.just(parent_id),
        "weight": st.sampled_from([0, 1]),
    }


@st.composite
def conversations(draw: Any) -> Conversation:
    """Return message trees: each message's parent is an earlier one, or none."""
    tree: list[Message] = []
    for index in range(draw(st.integers(1, 6))):
        parent = draw(st.sampled_from([None, *(message.id for message in tree)])) if tree else None
        tree.append(draw(plain_messages(f"m{index}", parent)))
    return Conversation(
        id=draw(names),
        messages=tuple(tree),
        leaf_id=draw(st.sampled_from([None, *(message.id for message in tree)])),
        source=draw(names),
        source_ref=draw(texts),
        title=draw(texts),
        created_at=draw(moments),
        metadata=draw(objects),
    )


def feedback_of(
    kind: str, *, message_id: st.SearchStrategy[str] = names, **fields: st.SearchStrategy[Any]
) -> st.SearchStrategy[Feedback]:
    """Return feedback of a kind; what is not given has its default."""
    return st.builds(
        Feedback,
        id=names,
        conversation_id=names,
        message_id=message_id,
        kind=st.just(kind),
        **fields,
    )


feedbacks = st.one_of(
    feedback_of(
        "thumb", value=st.sampled_from([-1, 1]), reason=texts, comment=texts, created_at=moments
    ),
    feedback_of("rating", value=st.integers(1, 10)),
    feedback_of("correction", text=texts.filter(lambda text: bool(text.strip()))),
    feedback_of("choice", rejected_id=names),
    feedback_of("review", message_id=st.just(""), value=st.sampled_from([-1, 0, 1]), comment=texts),
    feedback_of("consent", message_id=st.just(""), value=st.sampled_from([-1, 1])),
    feedback_of(
        "title", message_id=st.just(""), text=texts.filter(lambda text: bool(text.strip()))
    ),
)

tokenized_examples = st.lists(
    st.tuples(st.integers(0, 200_000), st.sampled_from([0, 1])), max_size=20
).map(
    lambda pairs: TokenizedExample(
        example_id="e",
        conversation_id="c",
        ids=tuple(token for token, _ in pairs),
        mask=tuple(bit if index else 0 for index, (_, bit) in enumerate(pairs)),
    )
)

run_events = st.builds(
    RunEvent,
    kind=st.sampled_from(["started", "step", "validation", "finished"]),
    time=moments,
    step=st.integers(0, 10**9),
    values=st.dictionaries(names.filter(lambda key: key not in {"kind", "time", "step"}), scalars),
)
