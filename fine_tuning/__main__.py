"""The command ``fine-tuning``, also as ``python -m fine_tuning``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; where files cannot be locked, say so in one sentence."""
    try:
        import fine_tuning.core.unix_only  # noqa: F401, PLC0415 - before what needs it
    except ImportError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    from fine_tuning.cli.main import main as command  # noqa: PLC0415 - after the check

    return command()


if __name__ == "__main__":
    sys.exit(main())
