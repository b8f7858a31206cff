"""What a user can do: one facade per part, each with one method per intention.

Command line and pages only call and show. Methods return values; progress goes to the callback, a
run's events to the listener.
"""

from __future__ import annotations

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.ports import Progress
from fine_tuning.workbench.catalog import Catalog
from fine_tuning.workbench.chat.chat import Chat
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.data import Data
from fine_tuning.workbench.data.review import ConversationIndex
from fine_tuning.workbench.doctor.doctor import Doctor
from fine_tuning.workbench.evaluate.evaluate import Evaluate
from fine_tuning.workbench.jobs.jobs import Jobs
from fine_tuning.workbench.models.aliases import Aliases
from fine_tuning.workbench.models.models import Models
from fine_tuning.workbench.models.version_lineage import VersionLineage
from fine_tuning.workbench.process import limit_spinning
from fine_tuning.workbench.train.train import Train


class Workbench:
    """One user's tools: conversations, data sets, runs, verdicts and models.

    Args:
        settings: The settings in force.
        workspace: Where the user's data lies.
        progress: Called with how far long work is.

    Attributes:
        context: Settings, workspace, store, progress and clock.
        data: Record, import, clean, review, export, prepare, forget.
        train: Train, forecast, resume.
        models: Versions, lineage, deployment, aliases, A/B tests, files.
        evaluate: Compare runs, ask questions, read verdicts.
        chat: Talk to a model; the list of chats.
        jobs: Long work that goes on when the page is closed.
        doctor: What is installed, slow or missing.
    """

    def __init__(
        self, settings: Settings, workspace: Workspace, progress: Progress | None = None
    ) -> None:
        limit_spinning()
        context = Context(settings, workspace, progress)
        self._assemble(context, ConversationIndex(context))

    def with_progress(self, progress: Progress) -> Workbench:
        """Return the same workbench with another progress callback; both share what is open."""
        other = object.__new__(Workbench)
        context = self.context.with_progress(progress)
        other._assemble(context, ConversationIndex(context, self.data.index))
        return other

    def _assemble(self, context: Context, index: ConversationIndex) -> None:
        catalog = Catalog.of(context)
        aliases = Aliases(context, catalog.register)
        lineage = VersionLineage(context.workspace, catalog.register, aliases)
        self.context = context
        self.data = Data(context, catalog, index, lineage.mark_for_retraining)
        self.models = Models(context, catalog, index, aliases, lineage)
        self.train = Train(context, catalog, self.data, self.models.modelfiles.keep)
        self.evaluate = Evaluate(context, catalog, aliases)
        self.chat = Chat(context, index, self.models, self.data.export_if_due)
        self.jobs = Jobs(context, catalog.runs)
        self.doctor = Doctor(context, catalog.bases)
