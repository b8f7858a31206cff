"""What is wrong with a data set before it is trained on: leaks, lengths, masks, endings.

Looks at tokens and splits; where the conversations came from, and what their cleaning left out,
is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fine_tuning.core.errors import DataError
from fine_tuning.core.finding import Finding
from fine_tuning.data_preparation.leakage import SplitRecords, leakage
from fine_tuning.data_preparation.masking import TOO_LONG, WINDOWS, ExampleTokenizer
from fine_tuning.data_preparation.snapshot import SPLITS, Snapshot

LOW_SHARE = 0.1
NUM_BARS = 10
NUM_PARITY = 8
_SHOWN = 5


def data_set_findings(
    snapshot: Snapshot, recipe: ExampleTokenizer, cluster_of: Callable[[str], str]
) -> list[Finding]:
    """Return what is found in a data set.

    Args:
        snapshot: The data set.
        recipe: What tokenised it.
        cluster_of: The near-duplicate cluster of a conversation id.

    Raises:
        DataError: if a line of the data set cannot be read.
    """
    records = {name: snapshot.split(name).records for name in SPLITS}
    return [
        leakage(records, cluster_of),
        _lengths(records, recipe, snapshot.manifest.get("lost_replies", {}).get(TOO_LONG, 0)),
        _share(records),
        _endings(records, recipe),
        _parity(records, recipe),
        *_remarks(snapshot),
    ]


def _lengths(records: SplitRecords, recipe: ExampleTokenizer, num_beyond: int) -> Finding:
    max_length = recipe.max_length
    others = (
        "" if recipe.truncation == WINDOWS else ", or set data_preparation.truncation to windows"
    )
    lengths = sorted(len(record.tokenized.ids) for split in records.values() for record in split)
    width = max(1, -(-(lengths[-1] + 1) // NUM_BARS))
    histogram = {
        f"{start} to {start + width - 1}": sum(start <= n < start + width for n in lengths)
        for start in range(0, lengths[-1] + 1, width)
    }
    at_limit, would_do = sum(n >= max_length for n in lengths), _round_up(lengths[-1])
    middle, high = lengths[len(lengths) // 2], lengths[int(0.95 * (len(lengths) - 1))]
    return Finding(
        check="token lengths",
        severity="warning" if at_limit else "note",
        title=f"sequences have {middle} tokens in the middle, {high} at the 95th percentile",
        detail=f"{at_limit} of {len(lengths)} reach data_preparation.max_length ({max_length})",
        fix=f"raise data_preparation.max_length{others}"
        if at_limit or num_beyond
        else f"a max_length of {would_do} would do, and need less memory"
        if would_do < max_length
        else "",
        numbers={"histogram": histogram, "median": middle, "p95": high, "longest": lengths[-1]},
    )


def _round_up(length: int) -> int:
    return -(-length // 64) * 64


def _share(records: SplitRecords) -> Finding:
    train = [record.tokenized for record in records["train"]]
    tokens, learnt = sum(len(one.ids) for one in train), sum(one.num_targets for one in train)
    share = learnt / max(1, tokens)
    is_low = share < LOW_SHARE
    return Finding(
        check="trained tokens",
        severity="warning" if is_low else "good",
        title=f"{share:.0%} of the tokens are trained on ({learnt} of {tokens})",
        detail="most of the work would go into reading questions" if is_low else "",
        fix="shorten system prompts, or learn more replies (data_preparation.train_on)"
        if is_low
        else "",
        numbers={"share": round(share, 4), "learnt": learnt, "tokens": tokens},
    )


def _endings(records: SplitRecords, recipe: ExampleTokenizer) -> Finding:
    """Tell whether every learnt reply teaches the model to stop."""
    end = tuple(recipe.end_ids)
    replies = list(_replies(records))
    open_ones = [name for name, ids in replies if ids[-len(end) :] != end]
    text = recipe.tokenizer.decode(end)
    if not open_ones:
        return Finding(
            check="stop token",
            severity="good",
            title=f"all {len(replies)} replies end with {text!r}, and it is trained on",
            numbers={"replies": len(replies)},
        )
    return Finding(
        check="stop token",
        severity="warning",
        title=f"{len(open_ones)} of {len(replies)} replies are trained on without {text!r}",
        detail="they were cut at max_length; a model that never sees an end may never stop",
        fix="raise data_preparation.max_length, or set data_preparation.truncation to drop",
        numbers={"replies": len(replies), "without_end": len(open_ones)},
        examples=tuple(open_ones[:_SHOWN]),
    )


def _replies(records: SplitRecords) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield each learnt run of tokens, with its conversation's id."""
    for split in records.values():
        for record in split:
            ids, mask, start = record.tokenized.ids, record.tokenized.mask, None
            for place in range(len(mask) + 1):
                is_learnt = place < len(mask) and mask[place]
                if is_learnt and start is None:
                    start = place
                elif not is_learnt and start is not None:
                    yield record.tokenized.conversation_id, ids[start:place]
                    start = None


def _parity(records: SplitRecords, recipe: ExampleTokenizer) -> Finding:
    """Render the first prompts again and compare: what was learnt must be what is served."""
    some = [record for split in records.values() for record in split][:NUM_PARITY]
    broken: list[str] = []
    for record in some:
        first = record.tokenized.mask.index(1)
        prompts = []
        for target in record.example.targets:
            try:
                text = recipe.renderer.render(
                    record.example.messages[:target],
                    add_generation_prompt=True,
                    tools=record.example.tools,
                )
            except DataError:
                continue
            prompts.append(recipe.tokenizer.encode(text, add_special=True, parse_special=True))
        is_cut = recipe.truncation == "oldest"
        if list(record.tokenized.ids[:first]) not in prompts and not is_cut:
            broken.append(record.tokenized.conversation_id)
    if not broken:
        return Finding(
            check="template parity",
            severity="good",
            title=f"the prompts of {len(some)} sequences are those the server renders",
            detail=_thought(recipe),
        )
    return Finding(
        check="template parity",
        severity="stop",
        title=f"{len(broken)} of {len(some)} prompts are not those the server renders",
        detail="the model would learn another form of conversation than it is served",
        fix="prepare the data set again for this base model with 'fine-tuning prepare'",
        examples=tuple(broken),
    )


def _thought(recipe: ExampleTokenizer) -> str:
    """Say what is trained on before a reply where the base's prompt opens a thought."""
    form = recipe.ending.form
    if not form.opening.strip() or not form.bare:
        return ""
    return (
        f"the prompt opens a thought ({form.opening.strip()}), and {form.closes.strip()!r} before "
        "each reply closes it"
    )


def _remarks(snapshot: Snapshot) -> Iterator[Finding]:
    for remark in snapshot.remarks:
        if not remark.startswith("Training data too small"):  # told before, of all pairs
            yield Finding(check="splits", severity="warning", title=remark, fix="collect more")
