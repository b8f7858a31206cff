from __future__ import annotations

import base64
import json
import random

import pytest

from fine_tuning.core.conversation import Conversation, Message, Part, ToolCall
from fine_tuning.data_collection.data_cleaner import DataCleaner
from fine_tuning.data_collection.private_values import KINDS, find_private
from fine_tuning.data_collection.redaction import Redactor
from fine_tuning.data_collection.secret_patterns import VENDOR_KEYS, bits_per_char

RANDOM = random.Random(5)


def token(count: int) -> str:
    return "".join(
        RANDOM.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=count)
    )


def part(value: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


KEYS = {
    "private key": f"-----BEGIN RSA PRIVATE KEY-----\n{token(64)}\n{token(30)}==\n"
    "-----END RSA PRIVATE KEY-----",
    "JSON web token": f"{part({'alg': 'HS256'})}.{part({'sub': 'somebody'})}.{token(43)}",
    "AWS key": "AKIAIOSFODNN7EXAMPLQ",
    "GitHub token": "ghp_" + token(36),
    "GitLab token": "glpat-" + token(20),
    "OpenAI or Anthropic key": "sk-proj-" + token(44) + "7",
    "Stripe key": "sk_live_" + token(24),
    "Slack token": "xoxb-1234567890-" + token(24),
    "Google key": "AIza" + token(35),
    "Google token": "ya29." + token(40),
    "npm token": "npm_" + token(36),
    "Hugging Face token": "hf_" + token(34),
    "PyPI token": "pypi-" + token(60),
    "DigitalOcean token": "dop_v1_" + "0123456789abcdef" * 4,
    "SendGrid key": f"SG.{token(22)}.{token(43)}",
    "Telegram token": "123456789:AA" + token(33),
    "webhook secret": "whsec_" + token(32),
    "Discord token": f"M{token(25)}.{token(6)}.{token(38)}",
    "Groq key": "gsk_" + token(52),
    "Replicate token": "r8_" + token(37),
    "xAI key": "xai-" + token(80),
    "Perplexity key": "pplx-" + token(48),
    "NVIDIA key": "nvapi-" + token(64),
    "Shopify token": "shpat_" + "0123456789abcdef" * 2,
    "Square token": "sq0atp-" + token(22),
    "Mailgun key": "key-" + "0123456789abcdef" * 2,
    "Mailchimp key": "0123456789abcdef" * 2 + "-us12",
    "Twilio key": "SK" + "0123456789abcdef" * 2,
    "Databricks token": "dapi" + "0123456789abcdef" * 2,
    "Atlassian token": "ATATT3" + token(180),
    "Postman key": f"PMAK-{'0123456789abcdef' * 2}-0123456789",
    "Docker token": "dckr_pat_" + token(27),
    "Grafana token": "glsa_" + token(32) + "_0a1b2c3d",
    "Vault token": "hvs." + token(24),
    "Notion token": "ntn_" + token(46),
    "Linear key": "lin_api_" + token(40),
    "Figma token": "figd_" + token(43),
    "other issuer's key": "tvly-" + token(32),
    "connection string": "postgres://bob:s3cret@db.example.com:5432/shop",
}


def test_every_vendor_has_an_example() -> None:
    assert KEYS.keys() == VENDOR_KEYS.keys()


@pytest.mark.parametrize("kind", VENDOR_KEYS)
def test_vendor_keys(kind: str) -> None:
    text = f"I use {KEYS[kind]} for it"
    (span,) = find_private(text)
    assert (span.kind, span.what) == ("SECRET", kind)
    assert text[span.start : span.end] == KEYS[kind]
    assert Redactor().redact(text) == "I use <SECRET_1> for it"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("card 4111 1111 1111 1111, ok", "card <CARD_1>, ok"),
        ("4111111111111111 and 4111-1111-1111-1111", "<CARD_1> and <CARD_1>"),
        ("amex 3782 822463 10005.", "amex <CARD_1>."),
        ("IBAN DE89 3704 0044 0532 0130 00 thanks for it", "IBAN <IBAN_1> thanks for it"),
        ("de89370400440532013000", "<IBAN_1>"),
        ("GB82 WEST 1234 5698 7654 32", "<IBAN_1>"),
        ("from 93.184.216.34 or", "from <IP_1> or"),
        ("2606:2800:220:1:248:1893:25c8:1946", "<IP_1>"),
        ("password: hG7$kL02!pQzz.", "password: <SECRET_1>."),
        ("my password is hunter2", "my password is <SECRET_1>"),
        ("API_KEY = 'abcd1234efgh5678ijkl'", "API_KEY = '<SECRET_1>'"),
        ("Authorization: Bearer abcdefghij0123456789KLMN", "Authorization: Bearer <SECRET_1>"),
        ("password https://a.example or token a@b.example", "password <URL_1> or token <EMAIL_1>"),
    ],
)
def test_what_is_replaced(text: str, expected: str) -> None:
    assert Redactor().redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "the order 4111 1111 1111 1112 came", "1234567812345678 is a number",  # no check digit
        "DE89370400440532013001", "AB12 was the room we booked for everyone there today",
        "192.168.1.10, 10.0.0.1, 127.0.0.1, 0.0.0.0 and 203.0.113.9",  # nobody's in particular
        "version 99.184.216.34 of it", "section 1.2.3.4", "std::vector, a::b, 12:30:45, fe80::1",
        "the password is wrong", "password: I forgot it", "password = getpass()", "token 123",
        "use token_type_ids here", "secret santa was fun", "api_key=os.environ['KEY']",
        "sk-learn is short for scikit-learn", "eyJ is how tokens begin", "AKIA is a prefix",
    ],
)  # fmt: skip
def test_what_stays(text: str) -> None:
    assert find_private(text) == []


def test_kinds_can_be_chosen() -> None:
    text = "a@b.example from 93.184.216.34"
    assert Redactor(kinds=["IP"]).redact(text) == "a@b.example from <IP_1>"
    talk = {"user_message": text, "bot_response": "I see, thanks for that."}
    (kept,) = DataCleaner(private_kinds=["EMAIL"]).filter_conversations([talk])
    assert kept.path()[0].text == "<EMAIL_1> from 93.184.216.34"


def test_arguments_of_tools_are_redacted_too() -> None:
    call = ToolCall(id="1", name="mail", arguments={"to": ["a@b.example"], "text": "hi"})
    asked = Message(id="a", role="user", content=(Part(text="Write to a@b.example, please"),))
    called = Message(id="b", role="assistant", tool_calls=(call,), parent_id="a")
    done = Message(id="c", role="tool", content=(Part(text="sent"),), parent_id="b")
    said = Message(id="d", role="assistant", content=(Part(text="Done."),), parent_id="c")
    talk = Conversation(id="x", messages=(asked, called, done, said))
    (kept,) = DataCleaner().filter_conversations([talk])
    assert kept.messages[0].text == "Write to <EMAIL_1>, please"
    assert kept.messages[1].tool_calls[0].arguments == {"to": ["<EMAIL_1>"], "text": "hi"}


def test_the_diff_shows_texts_before_and_after() -> None:
    talk = Conversation.from_turns(
        [("user", "I am a@b.example"), ("assistant", "Hello  there"), ("user", "Good")], id="t"
    )
    changes = list(DataCleaner().changes([talk]))
    assert [(c.conversation_id, c.role, c.before, c.after) for c in changes] == [
        ("t", "user", "I am a@b.example", "I am <EMAIL_1>"),
        ("t", "assistant", "Hello  there", "Hello there"),
    ]


def test_entropy() -> None:
    assert bits_per_char("aaaa") == 0
    assert bits_per_char("abcd") == 2
    assert len(KINDS) == len(set(KINDS)) == 10
