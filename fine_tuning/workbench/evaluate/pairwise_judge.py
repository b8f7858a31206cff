"""Asks a judge model, or the person, which of two models' replies are better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fine_tuning.core.naming import content_name
from fine_tuning.core.ports import Progress, Sampling
from fine_tuning.core.preference import PreferencePair
from fine_tuning.evaluation.answering import Answerer
from fine_tuning.evaluation.blind_trial import BlindTrial
from fine_tuning.evaluation.cache import ResultCache
from fine_tuning.evaluation.judge import JudgeResult, judge_pairs
from fine_tuning.evaluation.preference_suites import ReplyPair, Winner, candidate_first
from fine_tuning.evaluation.results import SuiteResult
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.embedded_served import EmbeddedServedModel

JUDGE_SLOTS = 4
JUDGE_CONTEXT_TOKENS = 3072
"""Room for a prompt, two replies and the one that was hoped for."""
JUDGE_REPLY_TOKENS = 8

Ask = Callable[[Sequence[ReplyPair], tuple[str, str]], "Preferred"]
"""Finds out which replies are better; takes the pairs, the reference's and the candidate's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferred:
    """What was preferred: suites of reference and candidate, and what is known of the judge."""

    suites: tuple[tuple[SuiteResult, SuiteResult], ...] = ()
    judge: JudgeResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeModel:
    """A judge, ready to be loaded. ``choices`` are pairs on which the user's mind is known."""

    base: BaseModel
    threads: int | None
    cache: ResultCache | None
    choices: Sequence[tuple[ReplyPair, Winner]] = ()
    progress: Progress | None = None

    def judge(self, pairs: Sequence[ReplyPair], models: tuple[str, str]) -> JudgeResult:
        """Load the judge and judge pairs; what it said before is not asked again."""
        with EmbeddedServer(
            self.base.path,
            parallel=JUDGE_SLOTS,
            context_tokens=JUDGE_CONTEXT_TOKENS,
            threads=self.threads,
            name=self.base.name,
            # A judge is asked without the base's own system prompt.
            prompts=replace(self.base.prompts, system="") if self.base.prompts else None,
        ) as server:
            answerer = Answerer(
                lambda: EmbeddedServedModel(server),
                name=content_name(["judge/1", self.base.digest(), server.renderer.fingerprint]),
                sampling=Sampling(max_tokens=JUDGE_REPLY_TOKENS),
                parallel=JUDGE_SLOTS,
                cache=self.cache,
            )
            what = f"asking {self.base.name} which reply is better"
            reply_many = partial(answerer.answer, what=what, progress=self.progress)
            return judge_pairs(
                pairs, reply_many, judge=self.base.name, models=models, choices=self.choices
            )


def preference_asker(judge: JudgeModel | None, votes_file: Path) -> Ask:
    """Return what asks a judge, if there is one, and adds the votes of a person, if there are."""

    def ask(pairs: Sequence[ReplyPair], models: tuple[str, str]) -> Preferred:
        if not pairs:
            return Preferred()
        suites = []
        result = judge.judge(pairs, models) if judge else None
        if result is not None:
            suites.append(result.suites)
        if votes_file.is_file():
            trial = BlindTrial(pairs, votes_file)
            if trial.choices():
                suites.append(trial.result(models))
        return Preferred(suites=tuple(suites), judge=result)

    return ask


def reply_pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ReplyPair]:
    """Return two models' replies to the held-out prompts, side by side.

    Args:
        before: The reference's replies, as ``RepliesResult.to_dict`` gives them.
        after: The candidate's, of the same items in any order.
    """
    items = dict(zip(after["suite"]["item_ids"], after["replies"], strict=True))
    columns = (
        *(before["suite"]["item_ids"], before["suite"]["clusters"]),
        *(before["prompts"], before["replies"], before["references"]),
    )
    return [
        ReplyPair(
            id=item,
            cluster=cluster,
            prompt=prompt,
            reference=reply,
            candidate=items[item],
            expected=expected,
        )
        for item, cluster, prompt, reply, expected in zip(*columns, strict=True)
        if item in items
    ]


def user_choices(pairs: Iterable[PreferencePair]) -> list[tuple[ReplyPair, Winner]]:
    """Return what the user preferred, as pairs to check a judge against.

    Which side the preferred reply takes is drawn by hash, so that a judge that always names one
    side agrees by chance only.
    """
    found: list[tuple[ReplyPair, Winner]] = []
    for pair in pairs:
        chosen, rejected = pair.chosen.text, pair.rejected.text
        name = content_name([pair.conversation_id, chosen, rejected])
        is_candidate = candidate_first(name, seed=0)
        prompt = pair.prompt[-1].text if pair.prompt else ""
        reference, candidate = (rejected, chosen) if is_candidate else (chosen, rejected)
        shown = ReplyPair(
            id=name,
            cluster=pair.conversation_id,
            prompt=prompt,
            reference=reference,
            candidate=candidate,
        )
        found.append((shown, "candidate" if is_candidate else "reference"))
    return found
