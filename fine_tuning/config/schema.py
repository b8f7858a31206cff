"""Every setting: its meaning, unit, default and range. The sentence under a field is its manual.

The commented ``fine_tuning_config.yaml``, ``docs/reference/config.md`` and every error message are
made from this module. It knows nothing of files and environments (``loader`` does) and resolves
no path (``workspace`` does).
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from fine_tuning.config.data_sections import DataCollectionSettings, DataPreparationSettings
from fine_tuning.config.section import Section, Text, distinct

Method = Literal["qlora", "lora"]
Adapter = Literal["auto", "lora", "mergeable"]
Schedule = Literal["linear", "cosine", "constant"]
Mode = Literal["quality", "fast"]
ComputeDtype = Literal["auto", "float32", "bfloat16"]
Metric = Literal[
    "perplexity",
    "accuracy",
    "bits_per_byte",
    "bleu",
    "chrf",
    "rouge",
    "exact_match",
    "f1",
    "embedding_similarity",
    "length",
    "length_gap",
    "repetition",
    "refusal_rate",
    "language_match",
    "stop_rate",
]
PrimaryMetric = Literal["loss", "accuracy", "fact_recall", "bleu", "chrf", "rougeL", "f1"]
TargetModule = Literal[
    "attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down"
]
TARGET_MODULES: tuple[TargetModule, ...] = get_args(TargetModule)

LearningRate = Annotated[float, Field(gt=0, le=1)] | Literal["auto"]
Modules = Annotated[tuple[TargetModule, ...], AfterValidator(distinct)]
TargetModules = Annotated[tuple[TargetModule, ...], Field(min_length=1), AfterValidator(distinct)]
Metrics = Annotated[tuple[Metric, ...], AfterValidator(distinct)]


class TrainingSettings(Section):
    """What is trained, and how."""

    method: Method = "qlora"
    """`qlora` keeps the base model's weights packed as they are in the file, the least memory;
    `lora` unpacks them once, faster where memory allows. Both train the same adapter."""

    base_model: Text = "mistral:7b-instruct-q4_0"
    """The model to start from: a name from `ollama list`, a path to a `.gguf` file, or `embedded`
    for the small model that comes with the package."""

    output_dir: Text = "./fine_tuned_models"
    """The folder that gets one folder per run: adapter, checkpoints, manifest, events. A relative
    path starts at the workspace (`--home`)."""

    adapter: Adapter = "auto"
    """`lora` gains most and is served beside the base model; `mergeable` folds exactly into
    weights of 4 and 5 bits, for servers that load no adapters (Ollama since 0.34.1), and gains a
    little less. `auto` asks the server; where none answers it takes `mergeable`, which works
    everywhere."""

    lora_r: int = Field(default=16, ge=1, le=1024)
    """Rank of the adapter: its capacity, and its size."""

    lora_alpha: float = Field(default=32, gt=0, le=65_536)
    """Scale of the adapter: its update is multiplied by lora_alpha / lora_r."""

    eight_bit_modules: Modules = ()
    """For experiments: linear layers that a `mergeable` adapter leaves to plain LoRA; merging
    writes them in 8 bits, so that the file grows. No gain was shown yet at LoRA's learning rate.
    Empty folds all of 4 and 5 bits exactly."""

    use_rslora: bool = False
    """Scale by lora_alpha / sqrt(lora_r) instead, steadier at ranks of 64 and more (arXiv
    2312.03732)."""

    target_modules: Literal["all-linear"] | TargetModules = "all-linear"
    """Linear layers that get an adapter, by llama.cpp's names: `all-linear` for all of every
    block, or a list of them. Phi 3 has attn_qkv for the first three, and both halves of its
    feed-forward in ffn_up."""

    batch_size: int = Field(default=4, ge=1, le=4096)
    """Examples computed together. A smaller batch needs less memory."""

    gradient_accumulation: int = Field(default=1, ge=1, le=4096)
    """Batches whose gradients are added up before a step; batch_size times this is the batch the
    optimizer sees."""

    learning_rate: LearningRate = 2e-4
    """Peak learning rate of AdamW. `auto` tries several for a few steps each before the run, on
    its own data, and takes the one after which held-out replies are predicted best."""

    schedule: Schedule = "linear"
    """How the learning rate goes after the warm-up: `linear` or `cosine` down to zero, or
    `constant`."""

    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """Share of all steps in which the learning rate rises from zero to its peak."""

    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """AdamW's decoupled weight decay, applied to the adapter only."""

    max_grad_norm: float | None = Field(default=1.0, gt=0)
    """Gradient clipping: largest L2 norm over all adapter weights; a larger one is scaled down.
    null never clips."""

    num_epochs: int = Field(default=3, ge=1, le=10_000)
    """Epochs: passes over the training data."""

    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps after which training ends, whatever num_epochs says. null sets no limit."""

    evaluate_every: int | None = Field(default=None, ge=1)
    """Optimizer steps between two measurements of the validation loss, besides the one at the end
    of each epoch. null measures at the ends of epochs only."""

    early_stopping_patience: int | None = Field(default=3, ge=1)
    """Measurements in a row without a lower validation loss after which training stops; the best
    adapter is kept. null trains to the end and keeps the last one."""

    checkpoint_every_s: float | None = Field(default=120.0, gt=0)
    """Seconds between two checkpoints a killed run resumes from. null leaves it to
    checkpoint_every_steps."""

    checkpoint_every_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps between two checkpoints. null leaves it to checkpoint_every_s; with both
    null a run is saved at its end only."""

    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Decides the adapter's first weights and the order of the data. The same seed, data, machine
    and number of threads give the same adapter."""

    threads: int | None = Field(default=None, ge=1, le=1024)
    """Processor threads to compute with. null takes the physical cores."""

    mode: Mode = "quality"
    """`quality` adapts every layer; `fast` the last quarter of them, with what the layers below
    compute kept on disk while the run lasts: less time, less gained."""

    memory_budget: float | None = Field(default=None, gt=0, le=65_536)
    """GiB the training process may occupy. It decides which weights are unpacked and which
    activations are computed twice, not the result. null takes four fifths of what is free."""

    compute_dtype: ComputeDtype = "auto"
    """Number format of the products. `auto` takes bfloat16 where the processor multiplies it
    natively (AMX, AVX512-BF16), else float32."""


class EvaluationSettings(Section):
    """How a model is evaluated and compared."""

    metrics: Metrics = ("perplexity", "accuracy", "bleu", "rouge")
    """Metrics of the test split: `perplexity` and `bits_per_byte` (lower is better),
    `accuracy` (tokens predicted right), similarity of the replies to the recorded ones by `bleu`,
    `chrf`, `rouge`, `exact_match`, `f1` and `embedding_similarity` (needs the extra `embed`); of
    the replies alone `length`, `length_gap` (doublings off the recorded reply), `repetition`,
    `refusal_rate`, `language_match` (the language of the question) and `stop_rate` (ended by
    itself); the gate looks at the last two and at `length_gap` whether they stand here or not."""

    test_prompts: tuple[Text, ...] = ("What is machine learning?", "Explain neural networks")
    """Questions both models answer side by side."""

    max_reply_tokens: int = Field(default=256, ge=1, le=131_072)
    """Tokens after which a reply is cut during evaluation."""

    max_replies: int = Field(default=200, ge=0)
    """Held-out conversations that are answered anew and compared with the recorded replies; of
    more, these many are chosen by content. 0 answers none and measures likelihood only."""

    primary_metric: PrimaryMetric = "loss"
    """What must get better for a model to be promoted: `loss` or `accuracy` of the held-out
    replies, `fact_recall` of questions, or similarity of the replies to the recorded ones."""

    ability_probe: bool = True
    """Whether every model is given the built-in tasks of general ability, to notice what training
    made it forget."""

    max_ability_loss: float = Field(default=0.05, ge=0, le=1)
    """How much of the probability of the right choice, over all built-in tasks, may be lost
    without rejection."""

    max_skill_loss: float = Field(default=0.25, ge=0, le=1)
    """The same for the tasks of a single skill. With about 25 tasks a skill, a loss below 0.17 is
    not to be seen, so a smaller margin would leave every honest model undecided."""

    max_tasks_loss: float = Field(default=0.1, ge=0, le=1)
    """Share of the built-in tasks that may be answered wrongly where the reference was right,
    less those won."""

    max_stop_rate_loss: float = Field(default=0.05, ge=0, le=1)
    """How much the share of replies that end by themselves may fall."""

    max_fact_loss: float = Field(default=0.1, ge=0, le=1)
    """How much the share of right answers may fall, on the questions and on old suites."""

    suite_files: tuple[Text, ...] = ()
    """JSONL files of questions with key_facts that earlier models were evaluated on: a new one must
    not get worse on them. A relative path starts at the workspace (`--home`)."""

    canary_file: Text | None = None
    """A JSONL file of prompts whose replies must pass a check, such as {"id": "name", "prompt":
    "Who are you?", "check": {"kind": "contains", "any": ["assistant"]}}. null has none."""


class DeploymentSettings(Section):
    """How a tuned model is deployed."""

    ollama_base_url: str = Field(default="http://localhost:11434", pattern=r"^https?://[^\s/]+\S*$")
    """Address of the Ollama server."""

    runtime: Literal["auto", "ollama", "embedded"] = "auto"
    """Which program serves tuned models: `ollama`, `embedded` for llama.cpp without Ollama, or
    `auto` for Ollama where one answers at ollama_base_url."""

    auto_deploy: bool = True
    """Whether a tuned model whose verdict is `promote` is deployed without asking."""

    model_name_prefix: str = Field(default="fine_tuned_", pattern=r"^[a-zA-Z0-9_.\-]*$")
    """Put before the base model's name to name the tuned one. Letters, digits, `_`, `.` and `-`."""

    family: str | None = Field(default=None, pattern=r"^[a-zA-Z0-9_][a-zA-Z0-9_.\-]{0,47}$")
    """Model family: the name of tuned models after the prefix: with `support`, the third is
    `fine_tuned_support:3` and the one in use `fine_tuned_support:champion`. null takes the base
    model's name."""


class ServingSettings(Section):
    """How `fine-tuning serve` answers chat clients without Ollama."""

    host: Text = "127.0.0.1"
    """Address to listen on. Any other than this machine's own (127.0.0.1, ::1, localhost) makes
    every request need a token."""

    port: int = Field(default=11434, ge=0, le=65535)
    """Port to listen on; Ollama's own, so that its clients find the server. 0 takes a free one."""

    parallel: int = Field(default=4, ge=1, le=64)
    """Conversations answered at the same time per base model; others wait."""

    context_tokens: int = Field(default=4096, ge=256, le=1_048_576)
    """Context length: tokens of prompt and reply of each conversation; a model's own `num_ctx`
    takes precedence. Training and proof reckon with it, too: Phi 3 and 4 answer otherwise above
    4096."""

    memory_gib: float | None = Field(default=None, gt=0)
    """Memory for all loaded models together, in GiB; the one unused for longest makes room. null
    takes half of the machine's."""

    origins: tuple[Text, ...] = ()
    """Origins whose pages may ask the server, such as `https://chat.example.com`, besides those of
    this machine and of desktop programs; `*` stands for any text. OLLAMA_ORIGINS adds more."""

    hosts: tuple[Text, ...] = ()
    """Names of this machine that requests may ask for, such as `box.example.com`, besides
    localhost, its addresses and its own name; `*` takes every name."""

    max_waiting: int = Field(default=512, ge=0, le=100_000)
    """Requests that may wait for a model; further ones are refused and may be repeated."""


class Settings(Section):
    """All settings, in the order of the pipeline."""

    data_collection: DataCollectionSettings = DataCollectionSettings()
    """Recording conversations."""

    data_preparation: DataPreparationSettings = DataPreparationSettings()
    """Making a data set."""

    training: TrainingSettings = TrainingSettings()
    """Training an adapter."""

    evaluation: EvaluationSettings = EvaluationSettings()
    """Measuring it."""

    deployment: DeploymentSettings = DeploymentSettings()
    """Serving it."""

    serving: ServingSettings = ServingSettings()
    """Serving it without Ollama."""
