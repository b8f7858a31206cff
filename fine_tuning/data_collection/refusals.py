"""Finds replies that refuse, by what they do: whatever their beginning, in the reply's language.

A reply refuses if one of its sentences does and the rest helps nobody. A disclaimer before a real
answer is a good reply; so are code, quotations, dialogue, letters and translations that refuse.
"""

# ruff: noqa: E501 - patterns stand on one line

from __future__ import annotations

import re

import re2

from fine_tuning.data_collection.fences import without_code
from fine_tuning.data_collection.refusal_words import COMPLIES, HINTS, PADDING, REFUSES

MIN_HELPFUL_WORDS = 16  # beside refusing and padding
MIN_TURNED_WORDS = 4  # after "but", where the sentence turns to help
MIN_HELPFUL_ITEMS = 2  # of a list
MAX_READ_CHARS, MAX_SENTENCE_CHARS = 4000, 600
_CHARS_A_WORD = 2  # in scripts without spaces
_ROOMY = re2.Options()
_ROOMY.max_mem = 1 << 26  # with less its automaton is thrown away again and again
_HINT = re2.compile("(?i)" + "|".join(HINTS.values()), _ROOMY)
_HINT_OF = {name: re2.compile("(?i)" + hint, _ROOMY) for name, hint in HINTS.items()}
_REFUSES = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in REFUSES.items()}
_QUICK = {  # of ASCII text both say the same, and this one much faster
    name: re2.compile("(?i)" + re.sub(r"\\u(\w{4})", r"\\x{\1}", pattern), _ROOMY)
    for name, pattern in REFUSES.items()
}
_OTHER_SCRIPTS = frozenset({"ru", "zh", "ja", "ko", "ar", "hi", "th", "uk", "fa"})
_PADDING = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in PADDING.items()}
_COMPLIES = re.compile(COMPLIES, re.IGNORECASE)
_STILL_NOT = re.compile(
    r"(?i)^\W*(?:(?:i|ich|je|ik|eu|jag|saya)\b.*(?:\bnot\b|n['\u2019]t\b|\bnicht|\bkein|\bpas\b|\bniet\b|\bgeen\b|"
    r"\bn\u00e3o\b|\binte\b|\btidak\b|\bunable\b)|(?:no|non|n\u00e3o|nie|\u043d\u0435|\u044f \u043d\u0435)\b|\u6211?(?:\u65e0\u6cd5|\u4e0d\u80fd|\u4e0d\u4f1a))"
)
_SENTENCE = re.compile(r"(?<=[.!?;:])\s+|(?<=[\u3002\uff01\uff1f\u061f\u0964])\s*|\n+")
_TURN = re.compile(
    r"(?i)[,;\u060c\uff0c\u3001]?\s+(?:but|however|though|although|yet|aber|jedoch|mais|cependant|pero|"
    r"sin embargo|ma|per\u00f2|mas|por\u00e9m|maar|echter|ale|jednak|\u043d\u043e|\u043e\u0434\u043d\u0430\u043a\u043e|ama|fakat|ancak|men|nh\u01b0ng|tapi|"
    r"\u0648?\u0644\u0643\u0646(?:\u0646\u064a)?|\u0932\u0947\u0915\u093f\u0928|\u092a\u0930\u0902\u0924\u0941)\s+|[\uff0c,\u3001]?(?:\u4f46\u662f|\u4f46|\u4e0d\u8fc7|\u7136\u800c)|(?:\u304c|\u3051\u308c\u3069|\u3051\u3069)\u3001|(?<=\uc9c0\ub9cc)[, ]|\ud558\uc9c0\ub9cc"
)
_TURNS = re.compile(
    r"(?i)^\W*(?:still|that said|however|but|nevertheless|nonetheless|even so|in general|generally|allerdings|trotzdem|aber|jedoch|dennoch|"
    r"toutefois|cependant|mais|sin embargo|no obstante|pero|tuttavia|per\u00f2|no entanto|por\u00e9m|maar|toch|jednak|ale|\u043e\u0434\u043d\u0430\u043a\u043e|\u043d\u043e|"
    r"yine de|ancak|\u4f46\u662f|\u4e0d\u8fc7|\u3057\u304b\u3057|\u305f\u3060\u3057|\ud558\uc9c0\ub9cc|\uadf8\ub7ec\ub098|\u0644\u0643\u0646|\u0648\u0645\u0639 \u0630\u0644\u0643|\u0932\u0947\u0915\u093f\u0928|\u0939\u093e\u0932\u093e\u0902\u0915\u093f)(?!\w)"
)
_QUOTED = re.compile(
    '"[^"\n]{1,400}"|\u201c[^\u201d\n]{1,400}[\u201d\u201c]|\u201e[^\u201c\u201d\n]{1,400}[\u201c\u201d]'
    "|\u00ab[^\u00bb\n]{1,400}\u00bb|\u300c[^\u300d\n]{1,400}\u300d|\u300e[^\u300f\n]{1,400}\u300f"
    "|(?<!\\w)['\u2018][^'\u2018\u2019\n]{1,20}(?:['\u2019]\\w[^'\u2018\u2019\n]{0,200})*['\u2019](?!\\w)"
)
_QUOTED_LINE = re.compile(r"(?m)^[ \t]*>.*$")
_SPEAKER = re.compile(
    r"(?m)^[ \t]*(?:[-*+]|\d+[.)])?[ \t]*(?:\*\*|__)?[^\W\d_][\w .'\u2019()/-]{0,30}(?:\*\*|__)?[:\uff1a](?:\*\*)?[ \t]*\S.*$"
)
_DIALOGUE_DASH = re.compile(r"(?m)^[ \t]*[\u2014\u2013][ \t]*\S.*$")
_ACTION = re.compile(r"(?<!\*)\*(?!\*)[^*\n]{3,200}\*(?!\*)|(?<!\w)_[^_\n]{8,200}_(?!\w)")
_UNSAID = (
    (">", _QUOTED_LINE),
    ("\"'\u201c\u201e\u00ab\u300c\u300e\u2018", _QUOTED),
    ("*_", _ACTION),
    ("\u2014\u2013", _DIALOGUE_DASH),
)
"""What the writer does not say, each with the signs of which it has at least one."""
_LIST_ITEM = re.compile(r"(?m)^[ \t]*(?:[-*+\u2022]|\d+[.)])[ \t]+\S")
_LETTER = re.compile(
    r"(?im)^\W*(?:(?:best|kind|warm)?\s*regards|sincerely|yours|best wishes|mit freundlichen gr\u00fc\u00dfen|"
    r"viele gr\u00fc\u00dfe|cordialement|saludos|atentamente|cordiali saluti|atenciosamente|met vriendelijke groet|"
    r"z powa\u017caniem|\u0441 \u0443\u0432\u0430\u0436\u0435\u043d\u0438\u0435\u043c|sayg\u0131lar\u0131mla|\u6b64\u81f4|\u656c\u5177)\W*$|\[(?:your )?name\]|\[[A-Z][a-z]+(?: [A-Za-z]+)?\]"
)
_INNOCENT = re.compile(
    r"(?i)\bcan(?:no|['\u2019])t help (?:but|it\b|falling|wondering|feeling|thinking|noticing|laughing|smiling)"
    r"|\bcan(?:no|['\u2019])t (?:recommend|thank|stress|emphasi[sz]e|tell you how|wait|believe|imagine)\b"
    r"|\u0935\u093f\u0936\u094d\u0935\u093e\u0938|\u092f\u0915\u0940\u0928"
    r"|(?:said|says|asked|replied|whispered|shouted|answered) (?:he|she|they|the|to)\b"
)
_ASKS_FOR = re.compile(
    r"(?i)\b(?:which|what) (?:version|file|model|error|language|format|one)\b[^.!]*\?|\b(?:please |kindly )?"
    r"(?:upload|paste|attach|send me|share) (?:it|the|your)\b|\bnot? yet\b|\b(?:do that|tell) yet\b"
)
"""What a reply asks for that goes on with the work."""
_SPACELESS = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")
_WORD = re.compile(r"[^\W_]+")
_EXPLAINS = re.compile(
    r"(?i)^\W*(?:because|since|as (?:it|this|that|they|i)|it|this|that|they|such|doing so|these|weil|da|das|es|car|parce|cela|c'est|ce|"
    r"porque|eso|esto|es|perch\u00e9|questo|isso|isto|omdat|dat|dit|poniewa\u017c|to|\u044d\u0442\u043e|\u043f\u043e\u0442\u043e\u043c\u0443|\u00e7\u00fcnk\u00fc|bu|"
    r"\u56e0\u4e3a|\u8fd9|\u3053\u308c|\u305d\u308c|\uc774\ub294|\uadf8\uac83|\u0644\u0623\u0646|\u0647\u0630\u0627|\u0915\u094d\u092f\u094b\u0902\u0915\u093f|\u092f\u0939)\b"
)


def may_refuse(joined: str) -> bool:
    """Tell whether :func:`refusal` can find something in one of some joined texts."""
    return bool(_HINT.search(joined))


def refusal(text: str) -> str | None:
    """Return the words with which a reply refuses, or None if it refuses nothing or helps too.

    Args:
        text: The reply. Code, quotations, dialogue and stage directions in it are passed over.
    """
    if not _HINT.search(text):
        return None
    prose = _spoken(text)[:MAX_READ_CHARS]
    sentences = [part[:MAX_SENTENCE_CHARS] for part in _SENTENCE.split(prose) if part.strip()]
    is_ascii = prose.isascii()
    for name, hint in _HINT_OF.items():
        if (is_ascii and name in _OTHER_SCRIPTS) or not hint.search(prose):
            continue
        refusing = next((said for part in sentences if (said := _refuses(part, name))), None)
        if refusing and not _does_something_else(text, prose, name):
            return None if _helps(sentences, name) else refusing
    return None


def _spoken(text: str) -> str:
    """Return what the writer says: no code, no quotations, no dialogue, no stage directions."""
    prose = without_code(text)
    for signs, pattern in _UNSAID:
        if any(sign in prose for sign in signs):
            prose = pattern.sub(" ", prose)
    if ":" not in prose and "\uff1a" not in prose:
        return prose
    return _SPEAKER.sub(_unless_refusing, prose)


def _unless_refusing(line: re.Match[str]) -> str:
    """Return a line whose beginning refuses; one that begins with a speaker's name is not said."""
    label = re.split("[:\uff1a]", line[0])[0]
    return line[0] if _HINT.search(label) else " "


def _does_something_else(text: str, prose: str, name: str) -> bool:
    """Tell whether a reply does what was asked, writes a letter, or gives a list."""
    is_played = _ACTION.match(text.lstrip())
    if (
        is_played
        or _ASKS_FOR.search(prose)
        or _COMPLIES.search(prose.lstrip())
        or _LETTER.search(text)
    ):
        return True
    items = [line for line in prose.split("\n") if _LIST_ITEM.match(line)]
    useful = [line for line in items if _is_helpful(line, name)]
    return len(useful) >= MIN_HELPFUL_ITEMS or "\n```" in text


def _refuses(sentence: str, name: str) -> str | None:
    if sentence.isascii() and not _QUICK[name].search(sentence):
        return None
    found = _REFUSES[name].search(sentence)
    if not found or _INNOCENT.search(sentence):
        return None
    return found[0].strip()


def _helps(sentences: list[str], name: str) -> bool:
    """Tell whether enough is said beside refusing, apologising and explaining."""
    helpful = 0
    for sentence in sentences:
        first, *turned = _TURN.split(sentence)
        if _TURNS.search(first):
            first, turned = "", [_TURNS.sub("", first), *turned]
        for clause in turned:
            is_turned = _words(clause) >= MIN_TURNED_WORDS and not _STILL_NOT.search(clause)
            if is_turned and _is_helpful(clause, name):
                return True
        if _is_helpful(first, name):
            words = _words(first)
            helpful += words // 2 if _EXPLAINS.search(first) else words
    return helpful >= MIN_HELPFUL_WORDS


def _is_helpful(clause: str, name: str) -> bool:
    padding = _PADDING.get(name, _PADDING["sv"])  # those of smaller languages stand together
    return not (_REFUSES[name].search(clause) or padding.search(clause))


def _words(text: str) -> int:
    dense = len(_SPACELESS.findall(text))
    return len(_WORD.findall(_SPACELESS.sub(" ", text))) + dense // _CHARS_A_WORD
