"""``python -m fine_tuning``: the same as the command ``fine-tuning``."""

from __future__ import annotations

import sys

from fine_tuning.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
