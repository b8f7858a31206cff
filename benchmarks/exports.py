"""Import real chats, clean and export them, and let datasets and TRL read the exports.

Run: make test-trl, or
    python -m benchmarks.exports write FOLDER      with this project's environment
    .venv-peers/bin/python benchmarks/exports.py read FOLDER     with datasets and trl
The reader needs nothing of this project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRL_SHAPES = ("chatml", "openai", "trl_sft", "trl_dpo", "trl_kto")


def write(folder: Path) -> None:
    """Record chitchat and Perl's FAQ in a workspace, judge some replies, and export."""
    from benchmarks.real_text import chitchat_conversations, perl_faq_pairs
    from fine_tuning.config.schema import Settings
    from fine_tuning.config.workspace import Workspace
    from fine_tuning.core.feedback import Feedback
    from fine_tuning.storage.json_lines import whole_lines
    from fine_tuning.storage.log_lines import full_record
    from fine_tuning.storage.open_store import open_store
    from fine_tuning.workbench.workbench import Workbench

    bench = Workbench(Settings(), Workspace.open(folder / "home"))
    given = [*chitchat_conversations(), *perl_faq_pairs()]
    with whole_lines(folder / "given.jsonl") as add:
        for conversation in given:
            add(full_record(conversation))
    report = bench.data.importer.import_file(folder / "given.jsonl")
    store = open_store(bench.context.workspace.conversations)
    judged = [c for c in given if len(c.messages) > 1][:40]
    for number, conversation in enumerate(judged):
        common = {"conversation_id": conversation.id, "message_id": conversation.messages[1].id}
        store.add_feedback(
            Feedback(id=f"t{number}", kind="thumb", value=1 if number % 2 else -1, **common)
        )
        store.add_feedback(
            Feedback(
                id=f"c{number}", kind="correction", text=f"A better reply, {number}.", **common
            )
        )
    counts = bench.data.clean().counts
    files = bench.data.export(folder / "exports")
    stats = json.loads(files["statistics"].read_text(encoding="utf-8"))
    seen = counts["in"]
    for step in counts["steps"]:
        _must(step["seen"] == seen, step)
        seen -= step["dropped"]
    _must(seen == counts["kept"], "")
    _must(counts["in"] == counts["kept"] + sum(counts["dropped"].values()), "")
    _must(stats["total_conversations"] == counts["kept"], "")
    for name, told in stats["formats"].items():
        left_out = sum(item["conversations"] for item in told["left_out"])
        _must(told["conversations"] + left_out == counts["kept"], name)
    told = {"new": report.num_new, **{k: counts[k] for k in ("in", "kept", "dropped")}}
    told["records"] = {name: told["records"] for name, told in stats["formats"].items()}
    sys.stdout.write(json.dumps(told) + "\n")


def read(folder: Path) -> None:
    """Read every export with datasets, and render TRL's shapes with its data utilities."""
    from datasets import load_dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import data_utils

    plain = Tokenizer(models.BPE(unk_token="?"))  # noqa: S106 - a token of text
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain)
    tokenizer.chat_template = TEMPLATE
    told = {}
    for path in sorted((folder / "exports").glob("*.jsonl")):
        rows = load_dataset(
            "json", data_files=str(path), split="train", cache_dir=str(folder / "c")
        )
        lines = sum(1 for _ in path.open("rb"))
        _must(len(rows) == lines > 0, (path.name, len(rows), lines))
        told[path.stem] = {"rows": len(rows)}
        if path.stem in TRL_SHAPES:
            told[path.stem] |= _render(rows, tokenizer, data_utils)
    sys.stdout.write(json.dumps(told) + "\n")


def _render(rows, tokenizer, data_utils) -> dict[str, int]:  # noqa: ANN001 - the peers' types
    """Render every row with TRL; what was said must stand in the text."""
    chars = 0
    for row in rows:
        example = {key: value for key, value in row.items() if key not in {"tools"}}
        _must(data_utils.is_conversational(example), example)
        texts = data_utils.apply_chat_template(example, tokenizer)
        for key in ("text", "chosen", "rejected", "completion"):
            if key in texts:
                said = example["messages" if key == "text" else key][-1]["content"]
                _must(said in texts[key], (key, said))
                _must("<|im_end|>" in texts[key], "")
                chars += len(texts[key])
    return {"rendered_chars": chars}


def _must(holds: object, what: object) -> None:
    """End with an error when something that was promised does not hold."""
    if not holds:
        raise SystemExit(f"a promise is broken: {what}")


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
