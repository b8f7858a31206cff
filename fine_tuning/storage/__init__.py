"""Where things lie: conversation stores, whole-or-absent folders."""

from fine_tuning.core.unix_only import require_unix

require_unix()  # before a module that locks files fails on its imports
