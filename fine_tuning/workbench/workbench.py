"""What a user can do, one method per intention; command line and pages only call and show.

Methods return values; progress is told to the callback, a run's events to the listener.
"""

from __future__ import annotations

from fine_tuning.workbench.access import Access
from fine_tuning.workbench.deploying import Deploying
from fine_tuning.workbench.exporting import Exporting
from fine_tuning.workbench.forgetting import Forgetting
from fine_tuning.workbench.harness import Harnessing
from fine_tuning.workbench.jobs import Jobs
from fine_tuning.workbench.preflight import Preflight
from fine_tuning.workbench.serving import Serving


class Workbench(Preflight, Harnessing, Deploying, Serving, Exporting, Forgetting, Jobs, Access):
    """One user's tools: conversations, data sets, runs, verdicts and models."""
