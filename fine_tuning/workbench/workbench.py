"""What a user can do, one method per intention; command line and pages only call and show.

Methods return values; progress is told to the callback, a run's events to the listener.
"""

from __future__ import annotations

from fine_tuning.workbench.access import Access
from fine_tuning.workbench.adapter_import import AdapterImporting
from fine_tuning.workbench.base_choices import BaseChoices
from fine_tuning.workbench.chat.mixin import Conversing
from fine_tuning.workbench.checkup import CheckingUp
from fine_tuning.workbench.exporting import Exporting
from fine_tuning.workbench.harness import Harnessing
from fine_tuning.workbench.jobs.mixin import Jobs
from fine_tuning.workbench.preflight import Preflight
from fine_tuning.workbench.questioning import Questioning
from fine_tuning.workbench.splitting import Splitting


class Workbench(
    Preflight,
    Harnessing,
    Conversing,
    Exporting,
    AdapterImporting,
    Splitting,
    Jobs,
    Questioning,
    BaseChoices,
    CheckingUp,
    Access,
):
    """One user's tools: conversations, data sets, runs, verdicts and models."""
