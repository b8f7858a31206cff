"""Diagnoses how served replies ended, and which model made them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean

from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.ports import ServedToken
from fine_tuning.model_management.diagnosis import (
    BASE,
    MIN_COMPARED_TOKENS,
    MIN_TOKEN_AGREEMENT,
    TRAINED,
    Answered,
    Diagnosis,
    divergence,
    expected_end,
    is_right_end,
    same_tokens,
    token_agreement,
)
from fine_tuning.model_management.proof_parts import ENDING, OUTPUT, Cause, ProofPart
from fine_tuning.model_management.reference import Followed

COMPARED_TOKENS = 20


def ending_part(
    stop: str, answered: Sequence[Answered], read: Sequence[Followed] | None
) -> ProofPart:
    """Tell how replies ended.

    Args:
        stop: The trained end of turn.
        answered: The replies.
        read: The replies as the model reads them that seems to have made them; None for no model.
    """
    ended = [answer.reply.ended for answer in answered]
    figures: dict[str, JsonValue] = {"num_ended": sum(ended), "num_replies": len(ended)}
    broken_off = [answer.reply.broken_off for answer in answered if answer.reply.broken_off]
    if broken_off:
        figures["num_broken_off"] = len(broken_off)
    part = partial(ProofPart, name=ENDING, figures=figures)
    if read is None:
        sentence = f"{sum(ended)} of {len(ended)} replies ended, and which model made them is open"
        return part(outcome="cannot tell", sentence=sentence)
    pairs = list(zip(answered, read, strict=True))
    overrun = sum(expected_end(answer, followed) is not None for answer, followed in pairs)
    exact = _ends(pairs, exactly=True)
    right = exact or _ends(pairs, exactly=False)
    figures |= {"num_overrun": overrun, "num_ended_as_trained": sum(right)}
    if overrun > sum(right):
        sentence = (
            f"{overrun} of {len(ended)} replies go on where the model ends them with {stop!r}: "
            "the server does not stop there"
        )
        return part(outcome="fails", cause="missing_stop_token", sentence=sentence)
    if sum(right) * 2 < len(right):
        wrong = len(right) - sum(right)
        sentence = f"{wrong} of {len(right)} replies end where the model does not say {stop!r}"
        if not exact:
            sentence += ", and the server drew other tokens for their texts than the engine reads"
        wrong_end: Cause = "wrong_stop_token" if exact else ""
        return part(outcome="fails" if exact else "cannot tell", cause=wrong_end, sentence=sentence)
    if right:
        sentence = f"{sum(right)} replies ended by themselves with {stop!r}, as trained"
        return part(outcome="holds", sentence=sentence)
    sentence = _why_no_end(pairs, figures)
    return part(outcome="cannot tell", excuse="no reply was due to end", sentence=sentence)


def _why_no_end(pairs: Sequence[tuple[Answered, Followed]], figures: dict[str, JsonValue]) -> str:
    """Say why no reply was seen to end though nothing is wrong."""
    longest = max(answer.reply.reply_tokens or len(f.tokens) for answer, f in pairs)
    figures["longest_reply_tokens"] = longest
    sentence = (
        f"could not be checked: the trained model itself ends none of {len(pairs)} replies within "
        f"{longest} tokens, as the engine reads them"
    )
    broken_off = [answer.reply.broken_off for answer, _ in pairs if answer.reply.broken_off]
    if broken_off:
        sentence += f"; {len(broken_off)} of them: {broken_off[0]}"
    return sentence


def _ends(pairs: Sequence[tuple[Answered, Followed]], *, exactly: bool) -> list[bool]:
    """Return for each reply that ended whether the model said its end of turn there, or nearly.

    With ``exactly``, only replies count that the reference cuts into the tokens the server drew.
    """
    return [
        is_right_end(one, followed)
        for one, followed in pairs
        if one.has_ended
        and followed.stop is not None
        and (not exactly or same_tokens(one, followed) == len(followed.tokens))
    ]


def output_part(
    answered: Sequence[Answered], diagnosis: Diagnosis, prompt_source: str = ""
) -> ProofPart:
    """Name the model that answered, by strength of its adapter.

    Args:
        answered: The replies.
        diagnosis: What they were found to be.
        prompt_source: Where the prompts are from.
    """
    share, num_tokens = token_agreement(answered, diagnosis.readings[TRAINED].followed)
    by = "the log-probabilities told" if diagnosis.by == "probabilities" else "greedy tokens"
    figures: dict[str, JsonValue] = {
        "by": diagnosis.by,
        "num_prompts": len(answered),
        "prompts": prompt_source,
        "distance_by_strength": {
            f"{scale:g}": None if math.isinf(reading.distance) else reading.distance
            for scale, reading in diagnosis.readings.items()
        },
        "limit": diagnosis.readings[TRAINED].limit,
        "token_agreement": share,
        "num_tokens": num_tokens,
    }
    distance = diagnosis.readings[TRAINED].distance
    is_little = num_tokens < MIN_COMPARED_TOKENS
    if is_little and (diagnosis.scale == TRAINED or math.isinf(distance)):
        sentence = (
            f"of all replies {num_tokens} tokens could be compared with the trained model's, "
            f"expected {MIN_COMPARED_TOKENS} or more to tell anything"
        )
        return ProofPart(name=OUTPUT, outcome="cannot tell", sentence=sentence, figures=figures)
    if diagnosis.scale == TRAINED:
        return _agreeing_part(diagnosis, share, figures)
    cause, answering_model = _other_model(diagnosis.scale)
    return ProofPart(
        name=OUTPUT,
        outcome="fails",
        cause=cause,
        sentence=f"by {by} what answers is {answering_model} ({distance:.3f} nats from the trained "
        f"model, {num_tokens} tokens compared)",
        figures=figures,
    )


def _other_model(scale: float | None) -> tuple[Cause, str]:
    """Name the model of another strength of the adapter; None for one of no strength."""
    if scale is None:
        return "wrong_base", "neither the trained model nor its base: another base model"
    if scale == BASE:
        return "adapter_ignored", "the base model: the server ignores the adapter"
    return "adapter_scale", f"the trained model with its adapter {scale:g} times as strong"


def _agreeing_part(diagnosis: Diagnosis, share: float, figures: dict[str, JsonValue]) -> ProofPart:
    """Check the rest of the replies, and whether the adapter could have been missed."""
    distance = diagnosis.readings[TRAINED].distance
    if share < MIN_TOKEN_AGREEMENT:
        return ProofPart(
            name=OUTPUT,
            outcome="fails",
            cause="other_sampling",
            sentence=f"the probabilities agree, and only {share:.1%} of {figures['num_tokens']} "
            "tokens are the likeliest: the server draws replies otherwise than it was asked to",
            figures=figures,
        )
    effect = _effect(diagnosis)
    figures["effect_of_adapter"] = effect
    base = diagnosis.readings[BASE].distance
    over = f" over {figures['prompts']}" if figures["prompts"] else ""
    agrees = (
        f"{share:.1%} of {figures['num_tokens']} greedy tokens agree{over}, distance {distance:.4f}"
    )
    if base < 2 * distance:
        return ProofPart(
            name=OUTPUT,
            outcome="cannot tell",
            sentence=f"{agrees} nats; the adapter moves the replies too little ({effect:.4f} "
            "nats) to tell the tuned model from its base",
            figures=figures,
        )
    return ProofPart(
        name=OUTPUT,
        outcome="holds",
        sentence=f"{agrees} nats from the trained model, {base:.3f} from its base",
        figures=figures,
    )


def _effect(diagnosis: Diagnosis) -> float:
    """Return how far the trained model is from its base, by the reference alone, in nats.

    That is at the first tokens of the replies.
    """
    distances = []
    readings = (diagnosis.readings[scale].followed for scale in (TRAINED, BASE))
    for tuned, base in zip(*readings, strict=True):
        likeliest = sorted(tuned.likeliest[0].items(), key=lambda pair: -pair[1])[:COMPARED_TOKENS]
        told = ServedToken(likeliest[0][0], likeliest[0][1], tuple(likeliest))
        distances.append(divergence(told, base.likeliest[0]))
    return fmean(distances)
