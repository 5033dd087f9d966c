"""The options of a training: the table `[train]`, and `[data]` and `[model]` within one configuration."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from finetext import files
from finetext.data import DataConfig
from finetext.errors import UsageError
from finetext.metric_names import SelectionMetric
from finetext.models import ModelConfig
from finetext.options import AtLeast0, AtLeast1, Bounds, Rate, Share, also, section


@dataclass(frozen=True)
class OptimizationConfig:
    """Training."""

    epochs: Annotated[int | None, AtLeast1, also("--num-train-epochs")] = None
    """Passes over the training split; by default 4, more for small data: enough for 200 steps, at most 20."""
    batch_size: Annotated[int, AtLeast1, also("--per-device-train-batch-size", "--train-batch-size")] = 16
    """Texts in a batch, before accumulation."""
    gradient_accumulation: Annotated[int, AtLeast1, also("--gradient-accumulation-steps")] = 1
    """Batches whose gradients are accumulated for one optimizer step."""
    learning_rate: Annotated[float | None, Bounds(above=0, below=10)] = None
    """Peak rate. Default by `trainable`: head 1e-3, lora 5e-4, all 5e-5; last blocks 3e-4 and gradual 1e-4 for
    hidden states of 384, less for wider ones."""
    schedule: Annotated[Literal["linear", "cosine", "constant"], also("--lr-scheduler-type")] = "linear"
    """Shape of the learning rate after the warm-up: decay to zero, or constant."""
    warmup: Annotated[float, AtLeast0, also("--warmup-ratio", "--warmup-steps")] = 0.1
    """Optimizer steps over which the rate rises from zero; below 1 it is a share of all steps."""
    weight_decay: Annotated[float, AtLeast0] = 0.01
    """Decoupled weight decay of the weight matrices; biases and norms have none."""
    optimizer: Annotated[Literal["adamw", "adamw-8bit", "sgd", "adafactor"], also("--optim")] = "adamw"
    """`adamw-8bit` needs bitsandbytes and a CUDA GPU; without them `adamw` is used instead."""
    label_smoothing: Annotated[float, Rate, also("--label-smoothing-factor")] = 0.0
    """Share of the probability mass that the loss spreads over all classes."""
    max_gradient_norm: Annotated[float, AtLeast0, also("--max-grad-norm")] = 1.0
    """Clip gradients to this norm; 0 disables clipping."""
    head_start: Literal["auto", "probe", "none"] = "auto"
    """Initialise the output layer by a linear probe: a logistic regression on the features it reads (`probe`). `auto`
    does so where layers are frozen."""
    group_by_length: bool = True
    """Batch texts of similar length, within shuffled windows of 50 batches, to reduce padding."""
    store: Literal["auto", "bf16", "fp32", "none"] = "auto"
    """Precision in which the activations of the frozen layers are cached for all epochs and later runs. `auto` is bf16,
    or fp32 with `--precision fp32`; `none` runs those layers in every step."""
    cache_limit: str | None = None
    """Maximum disk space for cached activations, such as 20GB; by default a fifth of the free space."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass, which saves memory and takes longer."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "tf32"] = "auto"
    """Precision of the forward and backward passes; the trained weights themselves stay in float32. `auto` is bf16 on a
    GPU and, on a processor with AMX or AVX512-BF16, for the frozen layers."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device that the model runs on."""
    seed: Annotated[int, Bounds(at_least=0, below=2**32)] = 42
    """Seed of the splits, the head, the order of the examples and dropout."""
    metric: Annotated[SelectionMetric, also("--metric-for-best-model")] = "macro_f1"
    """Validation metric by which the best epoch is kept."""
    weight_averaging: bool = True
    """Average the weights at the ends of the epochs, unless that scores worse on validation than the best epoch."""
    patience: Annotated[int | None, AtLeast1, also("--early-stopping-patience")] = None
    """Stop after this many evaluations without improvement; by default train all epochs."""
    eval_every: Annotated[int | None, AtLeast1, also("--eval-steps")] = None
    """Also evaluate on validation every so many optimizer steps, not only after each epoch."""
    save_every: Annotated[int | None, AtLeast1, also("--save-steps")] = None
    """Also write a checkpoint every so many optimizer steps, not only after each epoch."""
    track: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()
    """Also log the run to these trackers."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with options that are parsed later."""
        if self.cache_limit is not None:
            try:
                files.parse_size(self.cache_limit)
            except UsageError as error:
                yield f"`cache_limit`: {error}"


@dataclass(frozen=True)
class DecisionConfig:
    """Decision rule. It is chosen on the validation split and saved with the model."""

    calibrate: bool = False
    """Calibrate probabilities by temperature scaling on the validation split; the saved head includes it."""
    threshold: str | None = None
    """Decision threshold for the positive class (binary) or for each label (multi-label): a number, 0.5 by default, or
    chosen for `f1`, `mcc`, `precision=0.95`, `recall=0.9` or `cost=1:5` (false positive : false negative)."""
    abstain_below: Annotated[float | None, Share] = None
    """Abstain on texts whose predicted class has a lower probability than this."""
    folds: Annotated[int | None, Bounds(at_least=2)] = None
    """Also cross-validate with this many folds and report the mean and standard deviation of the metrics."""
    zero_shot: bool = False
    """Also evaluate the pretrained causal model by zero-shot prompting as a further baseline. `finetext baseline` takes
    other prompts."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with options that are parsed later."""
        from finetext.evaluation import parse_criterion

        if self.threshold is not None:
            try:
                parse_criterion(self.threshold)
            except UsageError as error:
                yield str(error)


@dataclass(frozen=True)
class TrainConfig:
    """Every option of a run."""

    data: Annotated[DataConfig, section("Data")] = field(default_factory=DataConfig)
    model: Annotated[ModelConfig, section("Model")] = field(default_factory=ModelConfig)
    train: Annotated[OptimizationConfig, section("Training")] = field(default_factory=OptimizationConfig)
    decision: Annotated[DecisionConfig, section("Decision")] = field(default_factory=DecisionConfig)

    def problems(self) -> Iterator[str]:
        """Yield contradictions between options of different tables."""
        if self.model.keep_adapter and self.model.trainable != "lora":
            yield "`keep_adapter` needs `trainable = lora` (--trainable lora)."
        if self.model.keep_adapter and self.decision.calibrate:
            yield "`calibrate` changes the merged model alone: leave out `keep_adapter`."
