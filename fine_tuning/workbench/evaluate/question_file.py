"""Test questions a person writes: those put to every run, in a file beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fine_tuning.core.errors import DataError
from fine_tuning.core.naming import canonical_json, content_name
from fine_tuning.evaluation.questions import Question, read_questions
from fine_tuning.storage.atomic import write_file
from fine_tuning.storage.locking import locked
from fine_tuning.workbench.locators import RunLocator

QUESTIONS_FILE = "questions.jsonl"


class QuestionFile:
    """The test questions of a workspace.

    Args:
        home: The workspace's folder.
        runs: Finds finished runs, whose workspace may be another.
    """

    def __init__(self, home: Path, runs: RunLocator) -> None:
        self._home = home
        self._runs = runs

    def read(self, run_name: str = "") -> Sequence[Question]:
        """Return the questions put to every run beside this one; without a run, the workspace's.

        Raises:
            DataError: if a line of their file is not a question.
        """
        return own_questions(self._folder(run_name))

    def add(self, question: str, key_facts: Sequence[str], run_name: str = "") -> Question:
        """Add a question to those put to every run; the next comparison asks it.

        Args:
            question: What is asked.
            key_facts: What a right answer must hold, at least one.
            run_name: Beside which run; without one, in the workspace.

        Raises:
            DataError: if it has no text or no fact, or was asked already.
        """
        home = self._folder(run_name)
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

    def remove(self, question_id: str, run_name: str = "") -> None:
        """Take a question out.

        Raises:
            DataError: if there is none of that id.
        """
        home = self._folder(run_name)
        with locked(home / f".{QUESTIONS_FILE}.lock"):
            known = own_questions(home)
            kept = [one for one in known if one.id != question_id]
            if len(kept) == len(known):
                raise DataError(f"there is no test question {question_id!r} in {home}")
            _write(home, kept)

    def _folder(self, run_name: str) -> Path:
        """Return the folder whose questions a run is asked (see ``Evaluate.evaluate``)."""
        return self._runs.find(run_name).folder.parents[1] if run_name else self._home


def own_questions(home: Path) -> Sequence[Question]:
    """Return the questions that lie in a workspace, if there are any."""
    own = home / QUESTIONS_FILE
    return read_questions(own) if own.is_file() else ()


def _write(home: Path, questions: Sequence[Question]) -> None:
    place = home / QUESTIONS_FILE
    if not questions:
        place.unlink(missing_ok=True)
        return
    lines = "".join(canonical_json(question.to_dict()) + "\n" for question in questions)
    write_file(place, lines.encode())
