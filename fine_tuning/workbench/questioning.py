"""Test questions a person writes, and what was found the last time a run was compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fine_tuning.core.errors import DataError
from fine_tuning.core.naming import canonical_json, content_name
from fine_tuning.evaluation.questions import Question
from fine_tuning.storage.atomic import write_file
from fine_tuning.storage.locking import locked
from fine_tuning.workbench.base import WorkbenchBase
from fine_tuning.workbench.judged import Judgement, read_judgement
from fine_tuning.workbench.judging import QUESTIONS_FILE, own_questions


class Questioning(WorkbenchBase):
    """What a user asks of every run, and reads of it afterwards."""

    def judgement(self, run_name: str) -> Judgement | None:
        """Return what was found when a run was last compared; None if it never was.

        Raises:
            ModelNotFoundError: if there is no such run.
            DataError: if the report cannot be read.
        """
        return read_judgement(self.find_run(run_name).folder)

    def test_questions(self, run_name: str = "") -> Sequence[Question]:
        """Return the questions put to every run beside this one; without a run, the workspace's.

        Raises:
            DataError: if a line of their file is not a question.
        """
        return own_questions(self._questions_home(run_name))

    def add_question(self, question: str, key_facts: Sequence[str], run_name: str = "") -> Question:
        """Add a question to those put to every run; the next comparison asks it.

        Args:
            question: What is asked.
            key_facts: What a right answer must hold, at least one.
            run_name: Beside which run; without one, in the workspace.

        Raises:
            DataError: if it has no text or no fact, or was asked already.
        """
        home = self._questions_home(run_name)
        facts = tuple(fact.strip() for fact in key_facts if fact.strip())
        text = question.strip()
        name = content_name(["question", text]).removeprefix("b2:")
        added = Question(id=f"own-{name[:12]}", question=text, key_facts=facts)
        with locked(home / f".{QUESTIONS_FILE}.lock"):
            known = own_questions(home)
            if any(one.question == text for one in known):
                raise DataError(f"{text!r} is among the test questions, expected a new one")
            _write(home, [*known, added])
        return added

    def remove_question(self, question_id: str, run_name: str = "") -> None:
        """Take a question out.

        Raises:
            DataError: if there is none of that id.
        """
        home = self._questions_home(run_name)
        with locked(home / f".{QUESTIONS_FILE}.lock"):
            known = own_questions(home)
            kept = [one for one in known if one.id != question_id]
            if len(kept) == len(known):
                raise DataError(f"there is no test question {question_id!r} in {home}")
            _write(home, kept)

    def _questions_home(self, run_name: str) -> Path:
        """Return the folder whose questions a run is asked (see ``Judging.evaluate``)."""
        return self.find_run(run_name).folder.parents[1] if run_name else self.workspace.home


def _write(home: Path, questions: Sequence[Question]) -> None:
    place = home / QUESTIONS_FILE
    if not questions:
        place.unlink(missing_ok=True)
        return
    lines = "".join(canonical_json(question.to_dict()) + "\n" for question in questions)
    write_file(place, lines.encode())
