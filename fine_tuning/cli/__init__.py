"""The command line."""

import sys

from fine_tuning.core.unix_only import require_unix

try:
    require_unix()
except ImportError as error:
    sys.exit(str(error))
