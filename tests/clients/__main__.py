"""``python -m tests.clients PYTHON NODE_FOLDER``: try clients of others against ``serve``.

Their environments are made by ``make test-clients``; without Node those for JavaScript are left
out, which is said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.runtimes.serving.ollama_like import add_model, served_workspace

HERE = Path(__file__).parent
MODEL = "smollm2:135m"


def main(python: str, node_folder: str) -> int:
    """Try all; return 0 when all went well."""
    node = shutil.which("node")
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="clients-") as name:
        folder = Path(name)
        add_model(folder / "models", MODEL, system="Be brief.", parameters={"temperature": 0.2})
        with served_workspace(folder / "home", folder / "models") as url:
            codes = [subprocess.call([python, HERE / "of_python.py", url, MODEL], env=plain)]
            if node and Path(node_folder, "node_modules").is_dir():
                command = [node, str(HERE / "of_javascript.mjs"), url, MODEL]
                codes.append(subprocess.call(command, cwd=node_folder, env=plain))
            else:
                sys.stdout.write("without Node: clients for JavaScript are left out\n")
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
