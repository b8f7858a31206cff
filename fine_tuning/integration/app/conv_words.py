"""The words the page Conversations uses: names of languages, sources and reasons, for people."""

from __future__ import annotations

from collections.abc import Sequence

from fine_tuning.data_collection.conversation_index import Listed, Order, Rating
from fine_tuning.integration.app.formatting import count, plain, when

LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "fi": "Finnish", "fr": "French",
    "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian",
    "vi": "Vietnamese", "zh": "Chinese", "und": "too short to tell",
}  # fmt: skip
RATINGS: dict[Rating, str] = {
    "liked": "Thumb up",
    "disliked": "Thumb down",
    "edited": "Corrected by you",
    "unrated": "No feedback",
    "accepted": "Accepted",
    "rejected": "Rejected",
    "withheld": "No consent to training",
}
RATING_ICONS: dict[Rating, str] = {
    "liked": ":material/thumb_up:",
    "disliked": ":material/thumb_down:",
    "edited": ":material/edit: edited",
    "accepted": ":material/check_circle: accepted",
    "rejected": ":material/block: rejected",
    "withheld": ":material/lock: no consent to training",
}
ORDERS: dict[Order, str] = {
    "newest": "Newest first",
    "oldest": "Oldest first",
    "longest": "Longest first",
    "shortest": "Shortest first",
    "best": "Best quality first",
    "worst": "Worst quality first",
}
REASONS = {
    "consent": ("No consent to training", "The switch in the chat allows it again."),
    "rejected": ("You rejected it", "Undo your decision in the conversation."),
    "empty": ("Empty", "Nothing to do."),
    "no_reply": ("No finished reply", "A question alone is nothing to train on."),
    "not_trained": ("Excluded by feedback", "Change the thumb or the rating in the conversation."),
    "role_order": ("Turns out of order", "Look at the program that wrote them, and import again."),
    "refusal": ("Refusals", "Write a better reply in the review, or leave it out."),
    "cut_off": ("Replies cut off", "Let your chatbot write longer replies (num_predict)."),
    "too_short": ("Too short", "Setting: data_collection.min_conversation_length."),
    "too_long": ("Too long", "Setting: data_collection.max_conversation_length."),
    "too_many_tokens": (
        "Too many tokens",
        "Setting: data_collection.max_conversation_tokens.",
    ),
    "repetitive": ("Repetitive reply", "Nothing to do."),
    "inappropriate": ("Inappropriate content", "Accept it in the review if it is harmless."),
    "language": ("Another language", "Setting: data_collection.languages."),
    "low_quality": ("Low quality", "Setting: data_collection.min_quality."),
    "duplicate": ("Duplicate", "Nothing to do: the other one is trained on."),
    "boilerplate": ("Stock replies", "Setting: data_collection.max_same_reply."),
    "near_duplicate": (
        "Near duplicate",
        "Setting: data_collection.near_duplicate_similarity.",
    ),
}
STEPS = {
    "markup": "Markup of other programs removed",
    "redaction": "Private values redacted",
    "unicode": "Broken characters repaired",
    "whitespace": "White space normalised",
}
NO_WORDS = "(empty)"


def language_name(code: str) -> str:
    """Return what a language is called."""
    return LANGUAGES.get(code, code)


def source_name(source: str) -> str:
    """Return where conversations came from, in words."""
    return source.replace("import:", "Imported: ").capitalize() if source else "Unknown"


def reason_name(reason: str) -> str:
    """Return why a conversation is left out, in words."""
    return REASONS.get(reason, (reason.replace("_", " "), ""))[0]


def facts(row: Listed, ratings: Sequence[Rating] = ()) -> str:
    """Return a conversation's facts as one line of Markdown."""
    replies = f"{count(row.turns)} {'reply' if row.turns == 1 else 'replies'}"
    parts = [
        when(row.last_at) if row.last_at else "",
        replies,
        f"about {count(row.tokens)} tokens",
        language_name(row.language) if row.language != "und" else "",
        plain(source_name(row.source)) if row.source != "chat" else "",
        *(RATING_ICONS[one] for one in RATING_ICONS if one in ratings),
    ]
    return " · ".join(part for part in parts if part)


def title_of(row: Listed) -> str:
    """Return a conversation's title as Markdown that shows it letter by letter."""
    return plain(row.title) if row.title else NO_WORDS


def times(number: int, one: str, many: str) -> str:
    """Return a number with its noun: 1 conversation, 2,000 conversations."""
    return f"{count(number)} {one if number == 1 else many}"
