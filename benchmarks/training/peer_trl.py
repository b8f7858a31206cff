"""The peer: TRL's SFTTrainer with PEFT on the weights of the same GGUF file.

Runs in an environment of its own (benchmarks/training/peers.txt) and prints one JSON line. The
GGUF weights are unpacked to the compute dtype by transformers; its guard against training what
came from a GGUF file is taken off, for the weights are ordinary tensors by then.

Modes: ``default`` (TRL's own defaults), ``best`` (no gradient checkpointing, and the faster of
bfloat16 throughout or float32 throughout, as the probe of this processor says), ``nf4``
(bitsandbytes' 4-bit weights, else the defaults).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
import warnings
from typing import Any

STARTED_S = time.time()
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", CUDA_VISIBLE_DEVICES="")
warnings.filterwarnings("ignore")

import probe  # noqa: E402
import torch  # noqa: E402

RSS_AFTER_TORCH = probe.peak_rss_bytes()


def main() -> None:
    """Train a few steps and print what they cost."""
    given = probe.arguments(("default", "best", "nf4"))
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    fastest = probe.fastest_dtype()
    before = probe.gemm_tflops(fastest)
    workload = json.loads(given.workload.read_text())
    trainer, watch = make_trainer(given, workload, fastest)
    trainer.train()
    steps = [
        {**cost, "loss": log["loss"]}
        for cost, log in zip(
            watch.steps, [x for x in trainer.state.log_history if "loss" in x], strict=True
        )
    ]
    print(
        json.dumps(
            {
                "arm": f"trl {given.mode}",
                "steps": steps,
                "batches_sha256": watch.digest.hexdigest(),
                "peak_rss_bytes": probe.peak_rss_bytes(),
                "torch_rss_bytes": RSS_AFTER_TORCH,
                "probe_tflops": [before, probe.gemm_tflops(fastest)],
                "probe_dtype": str(fastest),
                "held_out": watch.held_out,
                "load_average": probe.load_average(),
            }
        )
    )


def make_trainer(given: argparse.Namespace, workload: dict[str, Any], fastest: torch.dtype) -> Any:
    """Return TRL's trainer over the workload's batches, in their order, and what watches it."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    folder, file = str(given.model.parent), given.model.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    tokenizer.eos_token = tokenizer.eos_token or "<|im_end|>"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    dtype = fastest if given.mode == "best" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=dtype)
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if given.mode == "nf4":
        to_nf4(model)
    batches = workload["batches"][: given.steps]
    rows = [{"input_ids": s["ids"], "labels": labels(s)} for batch in batches for s in batch]
    watch = make_watch(workload, given)
    best = given.mode == "best"
    config = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=len(batches),
        per_device_train_batch_size=len(batches[0]),
        train_sampling_strategy="sequential",
        learning_rate=given.learning_rate,
        max_length=None,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **({"gradient_checkpointing": False, "bf16": False} if best else {}),
    )
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[watch],
    )
    if best and fastest == torch.bfloat16:
        trainer.model.to(torch.bfloat16)
    watch.trainer = trainer
    trainer.data_collator = watch.collated(trainer.data_collator)
    return trainer, watch


def labels(sequence: dict[str, Any]) -> list[int]:
    """Return TRL's labels of a sequence: the token where it is learnt, -100 elsewhere."""
    return [
        token if bit else -100 for token, bit in zip(sequence["ids"], sequence["mask"], strict=True)
    ]


def to_nf4(model: Any) -> None:
    """Put bitsandbytes' 4-bit matrices in place of the linear layers' weights."""
    import bitsandbytes as bnb

    for layer in model.model.layers:
        for parent, names in (
            (layer.self_attn, ("q_proj", "k_proj", "v_proj", "o_proj")),
            (layer.mlp, ("gate_proj", "up_proj", "down_proj")),
        ):
            for name in names:
                old = getattr(parent, name)
                new = bnb.nn.Linear4bit(
                    old.in_features,
                    old.out_features,
                    bias=False,
                    compute_dtype=torch.bfloat16,
                    quant_type="nf4",
                )
                new.weight = bnb.nn.Params4bit(
                    old.weight.data, requires_grad=False, quant_type="nf4"
                )
                setattr(parent, name, new.to("cpu"))


def make_watch(workload: dict[str, Any], given: argparse.Namespace) -> Any:
    """Return a callback that notes CPU seconds a step, and held-out losses now and then."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def __init__(self) -> None:
            self.trainer: Any = None
            self.steps: list[dict[str, float]] = []
            self.held_out: list[dict[str, float]] = []
            self.digest = hashlib.sha256()
            self.aside_s = self.aside_cpu_s = 0.0  # spent on held-out losses, which do not count

        def collated(self, collate: Any) -> Any:
            """Return a collator that takes the name of what it is given, on its way."""

            def named(examples: list[dict[str, Any]]) -> Any:
                for example in examples:
                    pair = [list(example["input_ids"]), list(example["labels"])]
                    self.digest.update(json.dumps(pair).encode())
                return collate(examples)

            return named

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.cpu_s, self.wall_s = time.process_time(), time.time()

        def on_step_end(self, _: Any, state: Any, control: Any, **__: Any) -> None:
            batch = workload["batches"][state.global_step - 1]
            self.steps.append(
                {
                    "cpu_s": time.process_time() - self.cpu_s,
                    "wall_s": time.time() - self.wall_s,
                    "num_tokens": sum(len(s["ids"]) for s in batch),
                    "num_targets": sum(sum(s["mask"]) for s in batch),
                }
            )
            if given.held_out_every and state.global_step % given.held_out_every == 0:
                self.judge(state.global_step, control)

        def judge(self, step: int, control: Any) -> None:
            began_s, began_cpu_s = time.time(), time.process_time()
            loss = held_out_loss(self.trainer.model, workload["held_out"])
            self.held_out.append(
                {
                    "step": step,
                    "loss": loss,
                    "wall_s": began_s - STARTED_S - self.aside_s,
                    "cpu_s": began_cpu_s - self.aside_cpu_s,
                }
            )
            self.aside_s += time.time() - began_s
            self.aside_cpu_s += time.process_time() - began_cpu_s
            if loss <= given.target_loss:
                control.should_training_stop = True

    return Watch()


@torch.no_grad()
def held_out_loss(model: Any, sequences: list[dict[str, Any]]) -> float:
    """Return the mean loss per learnt token; not counted in the training time."""
    model.eval()
    total, count = 0.0, 0
    for sequence in sequences:
        ids = torch.tensor([sequence["ids"]])
        wanted = torch.tensor(labels(sequence))[1:]
        logits = model(input_ids=ids).logits[0, :-1].float()
        total += float(
            torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum")
        )
        count += int((wanted != -100).sum())
    model.train()
    return total / count


if __name__ == "__main__":
    main()
