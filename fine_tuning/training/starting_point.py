"""Where a run begins that does not begin afresh: at the adapter of a version."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fine_tuning.core.errors import ConfigError
from fine_tuning.engine.adapter_files import read_gguf_adapter
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.gguf.adapter import BASE_DIGEST_KEY
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.training.plan import TrainingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPoint:
    """A version, by its name and its adapter's GGUF file."""

    name: str
    adapter_file: Path
    base_fingerprint: str = ""

    def adapter(self) -> LoraAdapter:
        """Read the adapter, anew each time.

        Raises:
            GgufError: if the file is not sound.
        """
        return read_gguf_adapter(self.adapter_file)

    def check_base(self, base_digest: str, fingerprint: str = "") -> None:
        """Refuse an adapter that says it was trained on another base.

        Args:
            base_digest: ``sha256:<64 hex>`` of the base's file, "" when it is not known.
            fingerprint: That of its tensors: a file that was rewritten is the same base.

        Raises:
            ConfigError: if it does.
        """
        with GgufFile.open(self.adapter_file) as file:
            said = file.get(BASE_DIGEST_KEY, str, "")
        is_rewritten = bool(fingerprint) and fingerprint == self.base_fingerprint
        if said and base_digest and said != base_digest and not is_rewritten:
            raise ConfigError(
                f"{self.name} was trained on {said}, and the base is {base_digest}",
                next_command=f"fine-tuning models show {self.name}, then name its base with --base",
            )

    def in_its_form(self, plan: TrainingPlan) -> TrainingPlan:
        """Return a plan whose adapter has this one's rank, scale, targets and form.

        Its scales are folded, so neither ranks of their own nor rsLoRA are left to say.
        """
        adapter = self.adapter()
        layers = tuple(dict.fromkeys(name.split(".")[2] for name in adapter.targets))
        folded = {name.split(".")[2] for name in adapter.qalora}
        return replace(
            plan,
            rank=adapter.rank,
            alpha=adapter.alpha,
            ranks={},
            alphas={},
            use_rslora=False,
            targets=layers,
            adapter="mergeable" if folded else "lora",
            eight_bit=tuple(each for each in layers if folded and each not in folded),
            adapter_reason=f"goes on from {self.name}",
        )
