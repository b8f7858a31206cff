"""Compare the engine with PEFT on one adapter: PEFT's imported here, and ours loaded by PEFT.

Run: make test-peft, or, one after the other,
    python -m benchmarks.peft_adapters begin FOLDER             with this project's environment
    .venv-peers/bin/python benchmarks/peft_adapters.py theirs FOLDER    with transformers and peft
    python -m benchmarks.peft_adapters ours FOLDER
    .venv-peers/bin/python benchmarks/peft_adapters.py back FOLDER
transformers reads the GGUF by code of its own. The peer's half needs nothing of this project.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

KINDS = {"lora": False, "rslora": True}
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SPREAD = 0.02
MAX_DIFFERENCE = 1e-3
"""Of a logit: float32 sums in another order are a tenth of it, a wrong row a thousand times."""


def begin(folder: Path) -> None:
    """Put the embedded model into the folder."""
    from fine_tuning.runtimes.base_model import resolve_base_model

    folder.mkdir(parents=True)
    (folder / "model.gguf").symlink_to(resolve_base_model("embedded").path)


def _peer(folder: Path) -> tuple[Any, torch.Tensor]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        str(folder), gguf_file="model.gguf", dtype=torch.float32
    ).eval()
    generator = torch.Generator().manual_seed(5)
    return model, torch.randint(model.config.vocab_size, (2, 24), generator=generator)


def _peer_logits(model: Any, ids: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model(input_ids=ids).logits.numpy()
    return found


def theirs(folder: Path) -> None:
    """Save adapters as PEFT does, and the logits with them."""
    from peft import LoraConfig, get_peft_model

    for kind, use_rslora in KINDS.items():
        model, ids = _peer(folder)
        np.save(folder / "ids.npy", ids.numpy())
        np.save(folder / "base.npy", _peer_logits(model, ids))
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=8,
            lora_alpha=16,
            use_rslora=use_rslora,
            target_modules=list(LAYERS),
            rank_pattern={"q_proj": 4},
            alpha_pattern={"k_proj": 24},
        )
        torch.manual_seed(2)
        tuned = get_peft_model(model, config).eval()
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=SPREAD)
        tuned.save_pretrained(folder / f"theirs-{kind}")
        np.save(folder / f"theirs-{kind}.npy", _peer_logits(tuned, ids))


def ours(folder: Path) -> None:
    """Import PEFT's adapters and compare; write adapters of our own for PEFT."""
    from fine_tuning.config.schema import Settings
    from fine_tuning.config.workspace import Workspace
    from fine_tuning.engine.adapter_files import read_gguf_adapter
    from fine_tuning.engine.decoder import Decoder
    from fine_tuning.engine.lora import LoraAdapter
    from fine_tuning.engine.peft_files import write_peft_adapter
    from fine_tuning.engine.step import next_token_logits
    from fine_tuning.workbench.workbench import Workbench

    bench = Workbench(Settings(), Workspace.open(folder / "home"))
    ids = np.load(folder / "ids.npy").tolist()
    with Decoder.open(folder / "model.gguf", dtype=torch.float32) as decoder:

        def logits(adapter: LoraAdapter | None) -> np.ndarray:
            return np.stack([next_token_logits(decoder, adapter, row).numpy() for row in ids])

        base = logits(None)
        _compare("no adapter", base, np.load(folder / "base.npy"), base)
        for kind, use_rslora in KINDS.items():
            version = bench.models.importer.import_adapter(
                folder / f"theirs-{kind}", "embedded"
            ).version
            adapter = read_gguf_adapter(
                bench.models.runs.find(str(version.run_folder)).adapter_file
            )
            expected = np.load(folder / f"theirs-{kind}.npy")
            _compare(f"PEFT's {kind}, imported", logits(adapter), expected, base)
            own = LoraAdapter.create(
                decoder.linear_shapes, rank=4, alpha=8.0, seed=3, use_rslora=use_rslora
            )
            generator = torch.Generator().manual_seed(4)
            for pair in own.pairs.values():
                pair.b.normal_(std=SPREAD, generator=generator)
            place = folder / f"ours-{kind}"
            place.mkdir()
            write_peft_adapter(place, own, decoder.shape, "embedded")
            np.save(folder / f"ours-{kind}.npy", logits(own))


def back(folder: Path) -> None:
    """Load our adapters by PEFT and compare."""
    from peft import PeftModel

    for kind in KINDS:
        model, ids = _peer(folder)
        tuned = PeftModel.from_pretrained(model, folder / f"ours-{kind}").eval()
        expected, base = (np.load(folder / f"{name}.npy") for name in (f"ours-{kind}", "base"))
        _compare(f"our {kind}, loaded by PEFT", _peer_logits(tuned, ids), expected, base)


def _compare(what: str, found: np.ndarray, expected: np.ndarray, base: np.ndarray) -> None:
    difference = float(np.abs(found - expected).max())
    same = float((found.argmax(-1) == expected.argmax(-1)).mean())
    moved = float(np.abs(expected - base).max())
    print(f"{what}: logits {difference:.1e} apart at most (the adapter moves them by {moved:.1f}), "
          f"{same:.0%} of likeliest tokens alike")  # fmt: skip
    if difference > MAX_DIFFERENCE:
        raise SystemExit(f"{what}: {difference:.1e}, expected at most {MAX_DIFFERENCE:.0e}")


if __name__ == "__main__":
    steps = {"begin": begin, "theirs": theirs, "ours": ours, "back": back}
    steps[sys.argv[1]](Path(sys.argv[2]))
