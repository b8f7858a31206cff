"""Keys and tokens by the forms their issuers give them: prefixes, lengths, signatures.

Sources of the prefixes are the issuers' own descriptions of their tokens. What is a secret by the
words before it alone, ``said_secrets`` finds.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import orjson

from fine_tuning.data_collection.private_spans import SECRET, Detector, Span, compiled, joined_lines

VENDOR_KEYS: dict[str, tuple[str, int]] = {
    "private key": (
        (
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\\\s:,.\-]*?"
            r"-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
            r"|-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\\\s:,.]*"
        ),
        40,
    ),
    "JSON web token": (r"\beyJ[\w\-]+\.eyJ[\w\-]+\.[\w\-]+", 36),
    "AWS key": (r"\bA(?:KIA|SIA|ROA|IDA|GPA|NPA|NVA)[A-Z0-7]+\b", 20),
    "GitHub token": (r"\bgh[pousr]_[A-Za-z0-9]+\b|\bgithub_pat_\w+", 33),
    "GitLab token": (r"\bgl(?:pat|dt|rt|ptt|soat|cbt|ft|imt|agent|ffct)-[\w\-]+", 20),
    "OpenAI or Anthropic key": (r"\bsk-[\w\-]+", 20),
    "Stripe key": (r"\b[srp]k_(?:live|test)_[A-Za-z0-9]+", 24),
    "webhook secret": (r"\bwhsec_[A-Za-z0-9+/=]+", 24),
    "Slack token": (r"\bxox[abeoprs]-[A-Za-z0-9\-]+|\bxapp-\d-[A-Za-z0-9\-]+", 15),
    "Google key": (r"\bAIza[\w\-]+", 35),
    "Google token": (r"\bya29\.[\w\-]+|\bGOCSPX-[\w\-]+", 25),
    "npm token": (r"\bnpm_[A-Za-z0-9]+\b", 30),
    "Hugging Face token": (r"\b(?:hf|api_org)_[A-Za-z0-9]+\b", 24),
    "PyPI token": (r"\bpypi-[\w\-]+", 40),
    "DigitalOcean token": (r"\bdo[opr]_v1_[a-f0-9]+\b", 39),
    "SendGrid key": (r"\bSG\.[\w\-]+\.[\w\-]+", 36),
    "Telegram token": (r"\b\d+:AA[\w\-]+", 40),
    "Discord token": (r"\b[MNO][\w\-]+\.[\w\-]+\.[\w\-]+", 57),
    "Groq key": (r"\bgsk_[A-Za-z0-9]+", 30),
    "Replicate token": (r"\br8_[A-Za-z0-9]+", 30),
    "xAI key": (r"\bxai-[A-Za-z0-9]+", 30),
    "Perplexity key": (r"\bpplx-[A-Za-z0-9]+", 30),
    "NVIDIA key": (r"\bnvapi-[\w\-]+", 30),
    "Shopify token": (r"\bshp(?:at|ca|pa|ss)_[A-Fa-f0-9]+\b", 38),
    "Square token": (r"\bsq0[a-z]{3}-[\w\-]+", 28),
    "Mailgun key": (r"\bkey-[0-9a-f]+\b", 36),
    "Mailchimp key": (r"\b[0-9a-f]+-us\d+\b", 35),
    "Twilio key": (r"\bSK[0-9a-f]+\b", 34),
    "Databricks token": (r"\bdapi[0-9a-f]+\b", 36),
    "Atlassian token": (r"\bATATT3[\w\-=]+", 60),
    "Postman key": (r"\bPMAK-[a-f0-9\-]+", 40),
    "Docker token": (r"\bdckr_pat_[\w\-]+", 30),
    "Grafana token": (r"\bgl(?:sa|c)_[\w\-=+/]+", 36),
    "Vault token": (r"\bhv[sbr]\.[\w\-]+", 28),
    "Notion token": (r"\b(?:ntn|secret)_[A-Za-z0-9]+\b", 43),
    "Linear key": (r"\blin_(?:api|oauth)_[A-Za-z0-9]+", 40),
    "Figma token": (r"\bfig[dou]_[\w\-]+", 40),
    "other issuer's key": (
        (
            r"\b(?:tvly-|lsv2_(?:pt|sk)_|pscale_\w+_|rubygems_|nfp_|sbp_|xkeysib-|NRAK-"
            r"|fw_|dp\.pt\."
            r"|AGE-SECRET-KEY-1|phc_|phx_|sntrys_|EAAA|rk_|eyJrIjoi)[\w\-=]+"
        ),
        24,
    ),
    "connection string": (
        (
            r"\b(?:postgres|postgresql|mysql|mariadb|mongodb|mongodb\+srv|rediss?|amqps?"
            r"|mssql|oracle"
            r"|clickhouse|cockroachdb|nats|smtps?|ldaps?|imaps?)(?:\+[a-z0-9]+)?"
            r"://[^\s:@/]*:[^\s@/]+@[^\s<>\"'`\x00{}|\x{3000}-\x{9fff}\x{ff00}-\x{ffef}]+"
        ),
        14,
    ),
}
"""What a key is: its pattern and the fewest characters it has; patterns are case-sensitive.

Lengths stand beside the patterns because counted repetitions make automata large.
"""

_NAMES = tuple(VENDOR_KEYS)
_KEYS = compiled("|".join(f"(?P<K{i}>{VENDOR_KEYS[name][0]})" for i, name in enumerate(_NAMES)))
_ENDS = {  # what a sentence puts behind a key; the last dash of a private key is its own
    "JSON web token": "-=",
    "private key": " \n\r\t",
    "connection string": ".,;:!?)\u201d\u2019",
}
_MIN_TOKEN_BITS = 3.0
_SHORT_BITS = 2.4
_TEMPLATE = re.compile(r"(?i)x{5,}|your[_\-]|example-?key|\*{3,}|\.{3,}|_here$")
_WORDS = re.compile(
    r"(?:[A-Za-z]{2,}|\d{1,4}|v\d+(?:\.\d+)*)(?:[_\-./](?:[A-Za-z]{2,}|\d{1,4}|v\d+))*"
)


def find(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001 - as all are
    """Yield keys and tokens that show their issuer.

    Args:
        text: What was said.
        regions: Not used here.
    """
    for match in _KEYS.finditer(text):
        kind = _NAMES[int(match.lastgroup[1:])]
        value = match[0].rstrip(_ENDS.get(kind, "-"))
        if is_vendor_key(kind, value):
            yield Span(match.start(), match.start() + len(value), SECRET, kind)


def is_vendor_key(kind: str, value: str) -> bool:
    """Tell whether a match of an issuer's pattern is what it looks like."""
    if len(value) < VENDOR_KEYS[kind][1]:
        return False
    check = _CHECKS.get(kind)
    if check is not None:
        return check(value)
    return bits_per_char(value) >= _SHORT_BITS and not _TEMPLATE.search(value)


def _is_whole(value: str) -> bool:
    return "<" not in value


def _is_discord(value: str) -> bool:
    return len(value.split(".")[1]) in {6, 7} and is_random(value)


def _has_digit(value: str) -> bool:
    is_varied = bits_per_char(value) >= _SHORT_BITS and not is_words(value)
    return is_varied and any(map(str.isdigit, value)) and not _TEMPLATE.search(value)


def is_words(value: str) -> bool:
    """Tell whether a value is words and numbers joined by signs, as names in programs are."""
    return _WORDS.fullmatch(value) is not None


def is_random(value: str) -> bool:
    """Tell whether a value mixes letters and digits as no name does."""
    has_digit = any(map(str.isdigit, value))
    has_letter = any(map(str.isalpha, value))
    return (
        has_digit and has_letter and not is_words(value) and bits_per_char(value) >= _MIN_TOKEN_BITS
    )


def bits_per_char(text: str) -> float:
    """Return the entropy of a text's characters, in bits each."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _is_jwt(value: str) -> bool:
    head = value.split(".", 1)[0]
    try:
        header = orjson.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(header, dict) and "alg" in header


_CHECKS: dict[str, Callable[[str], bool]] = {
    "JSON web token": _is_jwt,
    "private key": _is_whole,
    "connection string": _is_whole,
    "Discord token": _is_discord,
    "OpenAI or Anthropic key": _has_digit,
    "other issuer's key": _has_digit,
    "Notion token": _has_digit,
    "Google token": _has_digit,
}
DETECTOR = Detector(
    SECRET,
    joined_lines(r"""
    sk-|gh[pousr]_|github_|gl[a-z]+[\-_]|[srp]k_|whsec_|xox|xapp-|AIza|ya29|GOCSPX|npm_|hf_
    |api_org|pypi-|do[opr]_v|SG\.|gsk_|r8_|xai-|pplx-|nvapi|shp[acps]|sq0|key-|SK[0-9a-f]
    |dapi|ATATT|PMAK|dckr|hv[sbr]\.|ntn_|secret_|lin_|fig[dou]_|tvly|lsv2|pscale|rubygems
    |nfp_|sbp_|xkeysib|NRAK|fw_|dp\.pt|AGE-SEC|ph[cx]_|sntrys|EAAA|eyJ|AKIA|ASIA|A(?:ROA|IDA
    |GPA|NPA|NVA)|-----BEGIN|:AA|[\w\-]\.[\w\-]{6,7}\.[\w\-]|://[^\s:@/]*:[^\s@/]+@
    |[0-9a-f]{8}-us\d"""),
    find,
)
