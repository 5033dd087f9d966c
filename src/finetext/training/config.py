"""The options of a training: the table `[train]`, and `[data]` and `[model]` within one configuration."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from finetext.data.config import DataConfig
from finetext.metric_names import SelectionMetric
from finetext.models.config import ModelConfig
from finetext.options import also, section


@dataclass(frozen=True)
class OptimizationConfig:
    """Training."""

    epochs: Annotated[int | None, also("--num-train-epochs")] = None
    """Number of passes over the training split; by default 4, for small data as many as make 200 steps, at most 20."""
    batch_size: Annotated[int, also("--per-device-train-batch-size", "--train-batch-size")] = 16
    """Number of texts in a step before accumulation."""
    gradient_accumulation: Annotated[int, also("--gradient-accumulation-steps")] = 1
    """Number of batches whose gradients make one optimizer step."""
    learning_rate: float | None = None
    """Peak rate. Default by `trainable`: head 1e-3, lora 5e-4, all 5e-5; last blocks 3e-4 and gradual 1e-4 for
    hidden states of 384, less for wider ones."""
    schedule: Annotated[Literal["linear", "cosine", "constant"], also("--lr-scheduler-type")] = "linear"
    """Course of the learning rate after the warm-up: down to zero, or constant."""
    warmup: Annotated[float, also("--warmup-ratio", "--warmup-steps")] = 0.1
    """Optimizer steps over which the rate rises from zero; below 1 it is a share of all steps."""
    weight_decay: float = 0.01
    """Decoupled weight decay of the matrices; biases and norms have none."""
    optimizer: Annotated[Literal["adamw", "adamw-8bit", "sgd", "adafactor"], also("--optim")] = "adamw"
    """`adamw-8bit` needs bitsandbytes and a CUDA GPU; where they are missing `adamw` takes its place."""
    label_smoothing: Annotated[float, also("--label-smoothing-factor")] = 0.0
    """Share of the probability mass that the loss spreads over all classes."""
    max_gradient_norm: Annotated[float, also("--max-grad-norm")] = 1.0
    """Gradients with a larger norm are scaled down to it; 0 switches clipping off."""
    head_start: Literal["auto", "probe", "none"] = "auto"
    """Before the first step, fit the output layer as a logistic regression on what it reads (`probe`). `auto` does
    so where layers are frozen."""
    group_by_length: bool = True
    """Put texts of like length into a batch, within shuffled windows of 50 batches: less padding."""
    store: Literal["auto", "bf16", "fp32", "none"] = "auto"
    """Precision in which the output of the frozen layers is stored, once for all epochs and later runs. `auto`
    is bf16, or fp32 with `--precision fp32`; `none` runs those layers in every step."""
    cache_limit: str | None = None
    """Most disk space for stored features, such as 20GB; by default a fifth of what is free."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "tf32"] = "auto"
    """Arithmetic of forward and backward; the trained weights themselves stay in float32. `auto` is bf16 on a GPU
    and, on a processor with AMX or AVX512-BF16, for the frozen layers."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the model runs."""
    seed: int = 42
    """Seed of the splits, the head, the order of the examples and dropout."""
    metric: Annotated[SelectionMetric, also("--metric-for-best-model")] = "macro_f1"
    """Validation metric by which the best epoch is kept."""
    weight_averaging: bool = True
    """Keep the mean of the weights after each epoch, unless validation finds it worse than the best epoch."""
    patience: Annotated[int | None, also("--early-stopping-patience")] = None
    """Stop after this many evaluations without a better one; by default train all epochs."""
    eval_every: Annotated[int | None, also("--eval-steps")] = None
    """Evaluate on validation every so many optimizer steps too, not only after each epoch."""
    save_every: Annotated[int | None, also("--save-steps")] = None
    """Write a checkpoint every so many optimizer steps too, not only after each epoch."""
    track: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()
    """Also log the run to these trackers."""


@dataclass(frozen=True)
class DecisionConfig:
    """Decision. All of it is chosen on validation, and saved with the model."""

    calibrate: bool = False
    """Fit a temperature, so that probabilities are as sure as they are right; it becomes part of the saved head."""
    threshold: str | None = None
    """From which probability on the second class, or each label, is predicted: chosen for `f1`, `mcc`,
    `precision=0.95`, `recall=0.9` or `cost=1:5` (a false positive, a false negative), or a number. By default 0.5."""
    abstain_below: float | None = None
    """Give no label to a text whose predicted class has a lower probability than this."""
    folds: int | None = None
    """Also cross-validate with this many folds: mean and standard deviation of the figures."""
    zero_shot: bool = False
    """Also ask the pretrained causal model itself, untrained, about the test texts: a further baseline. The prompt is
    that of `finetext baseline`, which takes others."""


@dataclass(frozen=True)
class TrainConfig:
    """Every option of a run."""

    data: Annotated[DataConfig, section("Data")] = field(default_factory=DataConfig)
    model: Annotated[ModelConfig, section("Model")] = field(default_factory=ModelConfig)
    train: Annotated[OptimizationConfig, section("Training")] = field(default_factory=OptimizationConfig)
    decision: Annotated[DecisionConfig, section("Decision")] = field(default_factory=DecisionConfig)
