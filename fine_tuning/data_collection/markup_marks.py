"""Small marks of other programs within a text: citations, placeholders, artifacts, special tokens.

Each is the mark of one program, never something that a person or model would write on purpose: a
bare ``[1]`` stays, for it is how scientists cite.
"""

# ruff: noqa: RUF001 - marks are searched for in the letters in which they are written

from __future__ import annotations

import re

from fine_tuning.data_collection.markup_code import is_named, outside_code
from fine_tuning.data_collection.markup_tools import attributes

_PLACEHOLDER = (
    r"(?:This block is not supported on your current device(?: yet)?\.?"
    r"|Viewing (?:and editing )?artifacts(?: created via the Analysis Tool web feature preview)?"
    r" (?:isn['’]t|is not|aren['’]t|are not) (?:yet )?supported on (?:mobile|your current device)"
    r"(?: yet)?\.?"
    r"|This (?:artifact|content|feature) (?:isn['’]t|is not) (?:yet )?supported on (?:mobile|your "
    r"current device)(?: yet)?\.?"
    r"|Dieser Block wird (?:auf|von) (?:Ihrem|deinem) aktuellen Gerät (?:noch )?nicht "
    r"unterstützt\.?"
    r"|Ce bloc n['’]est pas encore (?:pris en charge|compatible)[^\n]{0,12} (?:votre|ton) appareil"
    r"(?: actuel)?\.?"
    r"|Este bloque (?:aún|todavía) no (?:es compatible con|está disponible en) (?:tu|su) "
    r"dispositivo(?: actual)?\.?"
    r"|Este bloco ainda não é (?:compatível com|suportado no) o? ?seu dispositivo(?: atual)?\.?"
    r"|Questo blocco non è ancora supportato sul (?:tuo )?dispositivo(?: attuale)?\.?"
    r"|このブロックは(?:、)?(?:お使いの|現在の)?デバイスでは(?:まだ)?サポートされていません。?"
    r"|이 블록은 (?:현재 )?기기에서 아직 지원되지 않습니다\.?"
    r"|您?(?:的)?当前设备(?:暂|尚)?不支持此(?:区块|块|模块)。?)"
)
"""What Claude's export writes where a tool or an artifact was."""
PLACEHOLDER_BLOCK = re.compile(
    rf"\A[ \t>]*(`{{3,}}|~{{3,}})[^\n]*\n\s*(?:(?:{_PLACEHOLDER})\s*)+\n[ \t>]*\1[ \t]*\Z"
)
_PLACEHOLDER_LINES = re.compile(rf"^[ \t]*{_PLACEHOLDER}[ \t]*$\n*", re.MULTILINE)
_ENTITY = re.compile(
    "\ue200(?:entity|genui|map|product_entity)\ue202?"
    r'\[[^\]"]*"[^"]*"\s*,\s*"([^"]*)"[^\]]*\]'
    "\ue201?"
)
_LABELLED = re.compile("\ue200(?:url|link)\ue202([^\ue200-\ue202]*)[^\ue200\ue201]*\ue201")
_BARE_ENTITY = re.compile(r'(?<![\w."\'])entity\["[a-z_]+"\s*,\s*"([^"\n]*)"[^\]\n]*\]')
_ZERO = r"(?:&#8203;|\u200b)?"
_MARKS = re.compile(
    rf"(?:(?<![ \t])[ \t]+)?(?:{_ZERO}``【oaicite:\d+】``{_ZERO}"
    rf"|{_ZERO}【oaicite:\d+】{_ZERO}"
    r"|【[\d:.]+†[^】\n]{0,200}】"
    r"|【turn\d+\w+】"
    rf"|{_ZERO}:contentReference\[oaicite:\d+\](?:\{{index=\d+\}})?{_ZERO}"
    r"|\[oaicite:\d+\](?:\{index=\d+\})?"
    "|\ue200[^\ue200\ue201]*\ue201"
    "|\ue202turn\\d+[a-z]+\\d+"
    r"|\\ue200(?:\\ue202turn\d+[a-z]+\d+)+\\ue201|\\ue202turn\d+[a-z]+\d+"
    r"|(?<!\w)(?:file)?cite(?:turn\d+[a-z]+\d+)+(?:L\d+(?:-L?\d+)?)?"
    r"|(?<!\w)navlist(?:turn\d+[a-z]+\d+)+"
    r"|(?<![\w.])image_group\{[^{}\n]*\}"
    r"|\[\^\d+\^\](?!:)"
    r"|\[(?:citation|cite): ?\d+(?:\s*[,\-\u2013]\s*(?:(?:citation|cite): ?)?\d+)*\]"
    r"|<grok:render\b[^>]{0,200}>(?:(?!<grok:render).){0,600}?</grok:render>"
    r"|<(?:co|cite|citation) (?:index|id|sources?)=[\"']?[\d,:\- ]+[\"']?>(?=</)"
    r")",
    re.DOTALL,
)
_MARK_BEGINS = re.compile(
    r"\\ue20[02]|"
    "[【\ue200-\ue206]|\\[oaicite|\\[\\^|\\[cit|<grok:|<cit|<co ?:|"
    "citeturn|navlist|image_group|:contentRef"
)
_NOTICE_HINT = re.compile(
    r"supported on|nicht unterstützt|ton appareil|tre appareil|dispositivo|デバイスでは|기기에서|"
    r"设备"
)
"""What each notice holds; a search for it is cheaper than one for all of them."""
_CITE_START = re.compile(r"\[cite_start\][ \t]?|\[cite_end\]|</?co: ?[\d,]+>")
_PRIVATE = re.compile("[\ue200-\ue206]")
_FOOTNOTES = re.compile(r"\n(?:^[ \t]*\[\^\d+\^\]:[^\n]*\n?)+", re.MULTILINE)
_BING_SOURCES = re.compile(
    r"\n[ \t]*(?:Source|Sources|Quelle|Fuente|Origem|Fonte): (?:Conversation with|Unterhaltung mit|"
    r"conversación con|Conversa com|Conversazione con|conversation avec) (?:Bing|Copilot),.*\Z",
    re.DOTALL | re.IGNORECASE,
)
_SANDBOX_LINK = re.compile(r"(!?)\[([^\[\]\n]*)\]\(sandbox:[^)\s]*\)")
_SANDBOX = re.compile(r"sandbox:/[\w./\-]*?([\w.\-]*)(?![\w./\-])")
_CITED = re.compile(r"(?:(?<![ \t])[ \t]+)?(?:\[\d{1,2}(?:\s*,\s*\d{1,2})*\])+(?!\()")
_ENDING = (
    r"<\|im_end\|>|<\|eot_id\|>|<\|eom_id\|>|<\|end_of_text\|>|<\|endoftext\|>|<\|end\|>|<\|return\|>|"
    r"<\|end_of_turn\|>|<\|END_OF_TURN_TOKEN\|>|<\|END_RESPONSE\|>|<end_of_turn>|<eos>|</s>|<EOT>|"
    r"<｜end▁of▁sentence｜>|<\|endofresponse\|>|<\|eot\|>|<\|end_of_role\|>|<turn\|>|\[/INST\]|\[e~\[|"
    r"<\|endofturn\|>|<\|user\|>|<\|observation\|>|<｜User｜>"
)
_BEGINNING = (
    r"(?:<s>|<bos>|<\|begin_of_text\|>|<｜begin▁of▁sentence｜>|<BOS_TOKEN>|<\|startoftext\|>)"
    r"|<\|im_start\|>(?:assistant|user|system)?\s*\n?"
    r"|<\|start_header_id\|>(?:assistant|user|system)<\|end_header_id\|>"
    r"|<start_of_turn>(?:model|user)\s*\n?|<\|turn>(?:model|user)\s*\n?|\[INST\]"
    r"|<\|start\|>(?:assistant|user)|<\|start_of_role\|>(?:assistant|user)<\|end_of_role\|>"
    r"|<\|(?:assistant|user|Assistant|User)\|>|<｜(?:Assistant|User)｜>|<\|START_RESPONSE\|>"
)
_EDGE_START = re.compile(rf"\A\s*(?:{_BEGINNING}|{_ENDING})")
_EDGE_END = re.compile(rf"(?:{_ENDING}|<\|im_start\|>(?:assistant|user)?)\s*\Z")
_RUN_ON = re.compile(
    r"(?<![`'\"])(?:<\|im_end\|>\s*<\|im_start\|>|<\|eot_id\|>\s*<\|start_header_id\|>"
    r"|<end_of_turn>\s*<start_of_turn>|</s>\s*\[INST\]|<\|end\|>\s*<\|user\|>)"
)
"""Where a reply ended and the model went on with turns of its own invention."""
_PLAIN_KINDS = ("text/markdown", "text/plain", "text", "markdown", "")
_LANGUAGES = {
    "text/html": "html", "image/svg+xml": "svg", "application/vnd.mermaid": "mermaid",
    "application/vnd.ant.mermaid": "mermaid", "application/vnd.react": "jsx",
    "application/vnd.ant.react": "jsx", "text/css": "css", "text/x-latex": "latex",
    "text/x-python": "python", "application/javascript": "javascript",
    "application/json": "json",
}  # fmt: skip
_FENCE_RUN = re.compile(r"^[ \t]*(`{3,})", re.MULTILINE)


def without_marks(text: str) -> str:
    """Return a reply without citation marks and placeholders; code stays as it is."""
    if "``【oaicite" in text:
        text = re.sub(rf"{_ZERO}``【oaicite:\d+】``{_ZERO}", "", text)
    return outside_code(text, _without_marks)


def _without_marks(text: str) -> str:
    if "entity[" in text or "\ue200" in text:
        text = _ENTITY.sub(r"\1", text)
        text = _LABELLED.sub(r"\1", text)
        text = _BARE_ENTITY.sub(r"\1", text)
    if _MARK_BEGINS.search(text):
        text = _FOOTNOTES.sub("\n", text)
        text = _CITE_START.sub("", _MARKS.sub(_spaced, text))
        text = _PRIVATE.sub("", text)
    if "sandbox:" in text:
        text = _SANDBOX_LINK.sub(lambda found: found[2], text)
        text = _SANDBOX.sub(lambda found: found[1], text)
    if "Bing," in text or "Copilot," in text:
        text = _BING_SOURCES.sub("", text)
    return _PLACEHOLDER_LINES.sub("", text) if _NOTICE_HINT.search(text) else text


def _spaced(found: re.Match[str]) -> str:
    """Return what stands in a mark's place: a space where words would grow together."""
    text, end = found.string, found.end()
    is_spaced = found[0][0] in " \t" and text[end : end + 1].isalnum()
    return " " if is_spaced else ""


def without_citations(text: str) -> str:
    """Return a reply without numbers such as ``[1]``, for an export that says they are citations.

    Args:
        text: The reply; numbers in code stay, and so do those before ``(``, which are links.
    """
    return outside_code(text, lambda piece: _CITED.sub(_spaced, piece))


def without_edge_tokens(text: str) -> str:
    """Return a text without special tokens at its beginning and end, in any number.

    A token that a sentence speaks of ("What does </s> mean?", "The token is </s>") stays.
    """
    given = text
    if (run_on := _RUN_ON.search(text)) and not _EDGE_START.match(text):
        text = text[: run_on.start()].rstrip()
    while found := _EDGE_START.match(text):
        if is_named(text, found.start(), found.end()) or _is_strike(text, found[0]):
            break
        text = text[found.end() :].lstrip(" \n") if found.end() < len(text) else ""
    while found := _EDGE_END.search(text):
        before = text[: found.start()]
        is_word = (
            text[:1] == given[:1]
            and before[-1:] in {" ", "`", '"', "'"}
            and before.rstrip()[-1:].isalnum()
        )
        if is_word or is_named(text, found.start(), len(text)) or _is_strike(before, found[0]):
            break
        text = before.rstrip()
    return text


def _is_strike(text: str, token: str) -> bool:
    """Tell whether a token is HTML for words struck through."""
    if token.strip() == "<s>":
        return "</s>" in text and not text.rstrip().endswith("</s>")
    return token.strip() == "</s>" and text.count("<s>") > text.count("</s>")


def artifact_text(tag: str, inner: str) -> str:
    """Return the content of an artifact as a reply would show it: in a fence, or as plain text.

    Args:
        tag: The opening tag, which names kind and language.
        inner: The content; one that is fenced already stays as it is.
    """
    given = attributes(tag)
    inner = inner.strip("\n")
    kind = given.get("type", given.get("contenttype", "")).lower()
    language = given.get("language", "") or _LANGUAGES.get(kind, "")
    if not language and kind not in _PLAIN_KINDS and kind.startswith("text/"):
        language = kind.removeprefix("text/").removeprefix("x-")
    is_plain = kind in _PLAIN_KINDS and not language
    if is_plain or not inner.strip() or re.match(r"\s*(?:`{3,}|~{3,})", inner):
        return inner
    longest = max((len(run) for run in _FENCE_RUN.findall(inner)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{inner}\n{fence}"
