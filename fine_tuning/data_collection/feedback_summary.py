"""What people said about replies, put to use: edits become targets, bad replies are not learnt.

The rules, of which the first that fits a reply decides:

    corrected          the better text is learnt in its place
    thumb down         not learnt, unless it was taken back, by another thumb or by none
    rated too low      not learnt
    not kept           not learnt; the reply kept in its stead is on the branch that is

Only feedback of persons counts; the latest of a kind does. Review and consent are of a whole
conversation: one that was rejected or withheld is not learnt and makes no pairs; accepting takes
back the thumbs down and low ratings before it. Nothing in the store is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.feedback import Feedback
from fine_tuning.core.ports import ConversationStore
from fine_tuning.core.preference import LabelledReply, Origin, PreferencePair

LOWEST_RATING_LEARNT = 4
HIGH_RATING = 7
CORRECTED = "corrected"
THUMB_DOWN = "thumb down"
LOW_RATING = "rated low"
NOT_KEPT = "not kept"


@dataclass(slots=True)
class FeedbackSummary:
    """The latest feedback of persons on the messages of one conversation."""

    thumbs: dict[str, int] = field(default_factory=dict)
    ratings: dict[str, int] = field(default_factory=dict)
    corrections: dict[str, str] = field(default_factory=dict)
    choices: dict[frozenset[str], tuple[str, str]] = field(default_factory=dict)
    """Kept and rejected message by the two of them, so that a later choice replaces one."""
    review: int = 0
    """1 for an accepted conversation, -1 for a rejected one, 0 for one that is not decided."""
    consent: int = 0
    """-1 for a conversation that must not be learnt; 0 when nothing was said, which allows it."""
    title: str = ""
    """The name it was given."""

    def take(self, feedback: Feedback) -> None:
        """Add feedback that is later than all before."""
        message_id = feedback.message_id
        if feedback.kind == "thumb" and not feedback.value:
            self.thumbs.pop(message_id, None)
        elif feedback.kind == "thumb":
            self.thumbs[message_id] = feedback.value
        elif feedback.kind == "rating":
            self.ratings[message_id] = feedback.value
        elif feedback.kind == "correction":
            self.corrections[message_id] = feedback.text
        elif feedback.kind == "review":
            self._decide(feedback.value)
        elif feedback.kind == "consent":
            self.consent = feedback.value
        elif feedback.kind == "title":
            self.title = feedback.text
        else:
            both = frozenset((message_id, feedback.rejected_id))
            self.choices[both] = (message_id, feedback.rejected_id)

    def _decide(self, review: int) -> None:
        self.review = review
        if review > 0:
            self.thumbs = {name: value for name, value in self.thumbs.items() if value > 0}
            self.ratings = {m: one for m, one in self.ratings.items() if one >= HIGH_RATING}

    @property
    def is_left_out(self) -> bool:
        """Whether nothing of the conversation may be learnt."""
        return self.review < 0 or self.consent < 0

    @property
    def rejected(self) -> dict[str, str]:
        """The reply kept in place of each that was not."""
        return {rejected: kept for kept, rejected in self.choices.values()}


def feedback_summaries(feedback: Iterable[Feedback]) -> dict[str, FeedbackSummary]:
    """Return what persons said, by conversation; memory grows with the feedback."""
    found: dict[str, FeedbackSummary] = {}
    for one in feedback:
        if one.annotator_kind == "human":
            found.setdefault(one.conversation_id, FeedbackSummary()).take(one)
    return found


def reviewed(summaries: Mapping[str, FeedbackSummary]) -> dict[str, bool]:
    """Return the conversations a person decided on: True for accepted, False for rejected."""
    return {name: one.review > 0 for name, one in summaries.items() if one.review}


def withheld(summaries: Mapping[str, FeedbackSummary]) -> frozenset[str]:
    """Return the conversations that must not be learnt."""
    return frozenset(name for name, one in summaries.items() if one.consent < 0)


def liked_replies(
    feedback: Iterable[Feedback], *, lowest_rating: int = HIGH_RATING
) -> frozenset[tuple[str, str]]:
    """Return conversation and message id of each reply that persons liked.

    Liked is what has a thumb up, a rating from ``lowest_rating``, a better text, or was kept when
    another was not; a thumb down outweighs all but the better text.
    """
    found: set[tuple[str, str]] = set()
    for name, summary in feedback_summaries(feedback).items():
        if summary.is_left_out:
            continue
        liked = {message_id for message_id, value in summary.thumbs.items() if value > 0}
        liked |= {m for m, rating in summary.ratings.items() if rating >= lowest_rating}
        liked |= {kept for kept, _ in summary.choices.values()}
        liked -= {message_id for message_id, value in summary.thumbs.items() if value < 0}
        found |= {(name, message_id) for message_id in liked | summary.corrections.keys()}
    return frozenset(found)


class ConversationsWithFeedback:
    """Iterates over conversations as they are to be learnt.

    Args:
        conversations: Read once per iteration.
        feedback: All that was said about them.
        lowest_rating: The least rating of 1 to 10 that is learnt from.

    Attributes:
        counts: How many replies each rule decided on, as of the last iteration.
    """

    def __init__(
        self,
        conversations: Iterable[Conversation],
        feedback: Iterable[Feedback],
        *,
        lowest_rating: int = LOWEST_RATING_LEARNT,
    ) -> None:
        self._conversations = conversations
        self._summaries = feedback_summaries(feedback)
        self._lowest_rating = lowest_rating
        self.counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Conversation]:
        """Yield the conversations in their order; one without feedback is the same value."""
        self.counts = Counter()
        for conversation in self._conversations:
            summary = self._summaries.get(conversation.id)
            yield self._with_feedback(conversation, summary) if summary else conversation

    def _with_feedback(self, conversation: Conversation, summary: FeedbackSummary) -> Conversation:
        messages = tuple(self._message(message, summary) for message in conversation.messages)
        return replace(conversation, messages=messages, leaf_id=_leaf(conversation, summary))

    def _message(self, message: Message, summary: FeedbackSummary) -> Message:
        if message.role != "assistant":
            return message
        if message.id in summary.corrections:
            self.counts[CORRECTED] += 1
            better = message.with_text(summary.corrections[message.id])
            return replace(better, status="complete", weight=1, reasoning="")
        why = self._why_not(message.id, summary)
        if not why:
            return message
        self.counts[why] += 1
        return replace(message, weight=0)

    def _why_not(self, message_id: str, summary: FeedbackSummary) -> str:
        if summary.thumbs.get(message_id) == -1:
            return THUMB_DOWN
        if summary.ratings.get(message_id, self._lowest_rating) < self._lowest_rating:
            return LOW_RATING
        return NOT_KEPT if message_id in summary.rejected else ""


def _leaf(conversation: Conversation, summary: FeedbackSummary) -> str | None:
    """Return the end of the branch to learn: the one last shown, or that of the reply kept.

    A choice against a reply on the branch leads over to the last message under the reply kept.
    """
    rejected = summary.rejected
    given = {message.id: message for message in conversation.messages}
    for message in conversation.path() if rejected else ():
        kept = rejected.get(message.id, "")
        if kept in given and given[kept].parent_id == message.parent_id:
            return _last_under(conversation, kept)
    return conversation.leaf_id


def _last_under(conversation: Conversation, message_id: str) -> str:
    under = {message_id}
    last = message_id
    for message in conversation.messages:  # parents stand before their children
        if message.parent_id in under:
            under.add(message.id)
            last = message.id
    return last


def preference_pairs(store: ConversationStore) -> Iterator[PreferencePair]:
    """Yield what people preferred: edits, choices, and thumbs that differ between siblings.

    A pair stands once, in the order of the conversations. A choice between messages that answer
    different questions, or of which one is gone, makes none.
    """
    summaries = feedback_summaries(store.feedback())
    for conversation in store.conversations():
        summary = summaries.get(conversation.id)
        if summary is not None and not summary.is_left_out:
            yield from _pairs(conversation, summary)


def _pairs(conversation: Conversation, summary: FeedbackSummary) -> Iterator[PreferencePair]:
    seen: set[tuple[str, str, str]] = set()
    for chosen, rejected, origin in _compared(conversation, summary):
        better, worse = chosen.text.strip(), rejected.text.strip()
        both = (rejected.parent_id or "", better, worse)
        is_comparable = chosen.role == rejected.role == "assistant" and better not in {"", worse}
        if is_comparable and chosen.parent_id == rejected.parent_id and both not in seen:
            seen.add(both)
            yield PreferencePair(
                conversation_id=conversation.id,
                prompt=_prompt(conversation, rejected),
                chosen=chosen,
                rejected=rejected,
                origin=origin,
            )


def _compared(
    conversation: Conversation, summary: FeedbackSummary
) -> Iterator[tuple[Message, Message, Origin]]:
    """Yield the better and the worse message of each comparison, sound or not."""
    given = {message.id: message for message in conversation.messages}
    for message_id, text in summary.corrections.items():
        if worse := given.get(message_id):
            yield replace(worse.with_text(text), reasoning=""), worse, "correction"
    for kept, rejected in summary.choices.values():
        if kept in given and rejected in given:
            yield given[kept], given[rejected], "choice"
    rated = [(given[name], value) for name, value in summary.thumbs.items() if name in given]
    for better, up in rated:
        for worse, down in rated:
            if up > down and better.parent_id == worse.parent_id:
                yield better, worse, "thumbs"


def labelled_replies(store: ConversationStore) -> Iterator[LabelledReply]:
    """Yield the replies that got a thumb, wanted or not, in the order of the conversations."""
    summaries = feedback_summaries(store.feedback())
    for conversation in store.conversations():
        found = summaries.get(conversation.id)
        given = {message.id: message for message in conversation.messages} if found else {}
        for message_id, value in found.thumbs.items() if found and not found.is_left_out else ():
            reply = given.get(message_id)
            if reply is not None and reply.role == "assistant" and reply.text.strip():
                yield LabelledReply(
                    conversation_id=conversation.id,
                    prompt=_prompt(conversation, reply),
                    reply=reply,
                    is_wanted=value > 0,
                )


def _prompt(conversation: Conversation, reply: Message) -> tuple[Message, ...]:
    return conversation.path(reply.parent_id) if reply.parent_id is not None else ()
