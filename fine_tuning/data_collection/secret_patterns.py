"""Secrets as they are pasted into chats: vendors' keys, private keys, tokens, passwords said.

Vendors' keys are known by their prefixes. A value behind a word such as ``password`` or ``api_key``
counts only when it looks random: what merely talks about passwords stays. Sources of the prefixes
are the vendors' own token formats.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections import Counter

import orjson
import re2

VENDOR_KEYS: dict[str, tuple[str, int]] = {
    "private key": (
        (
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s:,.]*"
            r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)?"
        ),
        40,
    ),
    "JSON web token": (r"\beyJ[\w\-]+\.eyJ[\w\-]+\.[\w\-]+", 36),
    "AWS key": (r"\bA(?:KIA|SIA|ROA|IDA|GPA|NPA|NVA)[A-Z2-7]+\b", 20),
    "GitHub token": (r"\bgh[pousr]_[A-Za-z0-9]+\b|\bgithub_pat_\w+", 33),
    "GitLab token": (r"\bgl(?:pat|dt|rt|ptt)-[\w\-]+", 25),
    "OpenAI or Anthropic key": (r"\bsk-[\w\-]+", 23),
    "Stripe key": (r"\b[srp]k_(?:live|test)_[A-Za-z0-9]+", 24),
    "Slack token": (r"\bxox[abeoprs]-[A-Za-z0-9\-]+", 15),
    "Google key": (r"\bAIza[\w\-]+", 39),
    "Google token": (r"\bya29\.[\w\-]+", 25),
    "npm token": (r"\bnpm_[A-Za-z0-9]+\b", 40),
    "Hugging Face token": (r"\bhf_[A-Za-z0-9]+\b", 33),
    "PyPI token": (r"\bpypi-[\w\-]+", 55),
    "DigitalOcean token": (r"\bdo[opr]_v1_[a-f0-9]+\b", 71),
    "SendGrid key": (r"\bSG\.[\w\-]+\.[\w\-]+", 36),
    "Telegram token": (r"\b\d+:AA[\w\-]+", 43),
    "connection string": (
        (
            r"\b(?:postgres|postgresql|mysql|mariadb|mongodb|mongodb\+srv|rediss?|amqps?)"
            r"://[^\s:@/]+:[^\s@/]+@[^\s<>\"'`\x00]+"
        ),
        14,
    ),
}
"""What a key is: its pattern and the fewest characters it has; patterns are case-sensitive.

Lengths stand beside the patterns because counted repetitions make automata large.
"""

SAID = (
    r"(?:\b|_)(?P<word>(?i:pass(?:word|wd|phrase|code)?|pwd|kennwort|passwort|secret|token|bearer"
    r"|api[ _\-]?key|access[ _\-]?key|secret[ _\-]?key|auth[ _\-]?token|client[ _\-]?secret))"
    r"(?:[\"']?\s*(?:[:=]|=>|\bis\b)\s*|\s)[\"'`]?(?P<value>[^\s\"'`<>,;\x00]+)"
)
"""A word for a secret and what stands behind it; the value alone is the secret."""

_PASSWORDS = re2.compile(r"(?i)pass|pwd|kenn")
_MIN_CHARS, _MAX_CHARS = 6, 200
_MIN_TOKEN_CHARS = 12
_MIN_TOKEN_BITS = 3.0
_CODE = re2.compile(r"[(){}\[\]]|^\$|^%|::|->|\.\w+\(|^\W+$")


def is_vendor_key(kind: str, value: str) -> bool:
    """Tell whether a match of a vendor's pattern is what it looks like."""
    if len(value) < VENDOR_KEYS[kind][1]:
        return False
    if kind == "JSON web token":
        return _is_jwt(value)
    if kind == "OpenAI or Anthropic key":
        return any(char.isdigit() for char in value) and bits_per_char(value) >= _MIN_TOKEN_BITS
    return True


def is_said_secret(word: str, value: str, *, is_assigned: bool) -> bool:
    """Tell whether what stands behind a word for secrets looks like one.

    A password mixes letters with digits or marks; a token is twelve characters and random. Behind
    a mere space ("token abc") only a token counts.
    """
    value = value.rstrip(".!?:)")
    if not _MIN_CHARS <= len(value) <= _MAX_CHARS or _CODE.search(value):
        return False
    has_digit = any(char.isdigit() for char in value)
    has_letter = any(char.isalpha() for char in value)
    if _PASSWORDS.search(word) and is_assigned:
        marks = any(not char.isalnum() and char not in "-_./'" for char in value)
        return has_letter and (has_digit or marks)
    is_long = len(value) >= _MIN_TOKEN_CHARS
    return is_long and has_letter and has_digit and bits_per_char(value) >= _MIN_TOKEN_BITS


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
