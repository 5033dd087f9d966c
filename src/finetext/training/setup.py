"""Everything a run needs before its first step: data read, checked and split, the model loaded, texts encoded.

Nothing is written here, so a mistake in the data or the options leaves no trace on disk.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetext import __version__
from finetext.cache import Inputs
from finetext.data import Dataset, Finding, Splits, balance, check_lengths, class_weights, read, split
from finetext.decision import LIKELIEST, Decision
from finetext.engine import Encoded, choose_device, choose_precision
from finetext.errors import UsageError
from finetext.evaluation import Metrics, compute_metrics, encode_targets
from finetext.models import (
    Model,
    ModelSource,
    find_model,
    load_model,
    output_layer,
    predict_logits,
    probabilities,
    require_causal,
    set_trainable,
)
from finetext.training.config import TrainConfig
from finetext.training.config_file import override
from finetext.training.plan import TrainingPlan, plan_training


@dataclass(frozen=True)
class Setup:
    """A run that is ready to start.

    Attributes:
        config: Every option as resolved.
        plan: What the training does.
        dataset: All examples.
        splits: Train, validation and test; `train` is not balanced.
        train: The training split after balancing.
        class_weights: Weight of each class in the loss, in the order of their ids, or None.
        model: The model with its fresh head.
        model_source: Where its weights came from.
        encoded: The tokens of the training split after balancing.
        encoded_validation: Those of the validation split.
        lengths: The finding about texts that are too long, if there are any.
        notices: What the user should know.
        identity: Digests of everything a resumed run must share with this one.
    """

    config: TrainConfig
    plan: TrainingPlan
    dataset: Dataset
    splits: Splits
    train: Dataset
    class_weights: list[float] | None
    model: Model
    model_source: ModelSource
    encoded: list[Encoded]
    encoded_validation: list[Encoded]
    lengths: tuple[Finding, ...]
    notices: tuple[str, ...]
    identity: dict[str, str]

    def targets(self, split: Dataset) -> NDArray[Any]:
        """Return a split's labels as class ids `(N,)`, or as `(N, C)` zeros and ones if multi-label."""
        return encode_targets(split.labels, self.dataset.class_names, self.dataset.task)

    def target_tensor(self, split: Dataset) -> torch.Tensor:
        """Return a split's targets for the loss: `(N,)` int64, or `(N, C)` float32 if multi-label."""
        targets = self.targets(split)
        return torch.from_numpy(targets.astype(np.int64 if targets.ndim == 1 else np.float32))

    def predict(self, inputs: Inputs) -> NDArray[np.float32]:
        """Return the model's probabilities `(N, C)` for what a run reads of a split."""
        return probabilities(predict_logits(self.model, inputs), self.dataset.task)

    def score(
        self, split: Dataset, probs: NDArray[np.floating[Any]], decision: Decision = LIKELIEST
    ) -> Metrics:
        """Return the metrics of predicted probabilities.

        Args:
            split: The texts with their labels.
            probs: `(N, C)`.
            decision: How probabilities become labels.
        """
        class_names, task = self.dataset.class_names, self.dataset.task
        return compute_metrics(self.targets(split), probs, class_names, task, decision)

    def provenance(self) -> dict[str, Any]:
        """Return where the trained model comes from, as it is kept with its bundle."""
        source = self.dataset.source
        return {
            "finetext": __version__,
            "backbone": self.model_source.public_name,
            "backbone_revision": self.model_source.revision,
            "backbone_digest": self.model_source.digest,
            "data_digest": source.digest,
            "synthetic_data": source.synthetic,
            "trainable": self.config.model.trainable,
            "seed": self.config.train.seed,
        }


@dataclass(frozen=True)
class RunInputs:
    """What a run reads.

    Attributes:
        train: The training split after balancing.
        validation: The validation split.
        test: The test split, read once, at the end.
        cut: Index of the first layer that runs in training; 0 if all do.
        stored: Precision of the cached activations: bf16 or fp32; None if there are none.
        computed_tokens: Tokens that went through the frozen layers; 0 if all activations were cached already.
    """

    train: Inputs
    validation: Inputs
    test: Inputs
    cut: int = 0
    stored: str | None = None
    computed_tokens: int = 0


def prepare(config: TrainConfig, parts: tuple[Dataset, Splits] | None = None) -> Setup:
    """Read the data, load the model and encode the texts.

    Args:
        config: The options.
        parts: A dataset and its splits, read and drawn already; otherwise both follow from the options.

    Raises:
        DataError: The data cannot be read, or training makes no sense with it.
        ModelError: The model cannot be loaded or is refused.
        UsageError: An option does not fit the data, the model or the machine.
    """
    config = with_absolute_paths(config)
    device = choose_device(config.train.device)
    precision = choose_precision(config.train.precision, device)
    dataset, splits = parts or read_splits(config)
    train = balance(splits.train, config.data, config.train.seed)
    weights = class_weights(train, config.data)
    config, source, model = _load(config, dataset)
    _check_decision(config, dataset.task, model)
    width = model.network.config.get_text_config().hidden_size
    plan = plan_training(config, len(train), width, model.structure.depth, device, precision)
    config = plan.resolve(config)
    torch.manual_seed(config.train.seed)  # of the LoRA matrices
    set_trainable(model, config.model, 0)
    model.network.to(device)
    encoded = model.encode(train.texts)
    lengths = _check_lengths(dataset, model)
    findings = (*dataset.findings.warnings, *lengths)
    return Setup(
        config=config,
        plan=plan,
        dataset=dataset,
        splits=splits,
        train=train,
        class_weights=weights,
        model=model,
        model_source=source,
        encoded=encoded,
        encoded_validation=model.encode(splits.validation.texts),
        lengths=lengths,
        notices=(*(finding.line for finding in findings), *splits.notes, *model.notices, *plan.notices),
        identity=_identity(config, dataset, splits, source, encoded),
    )


def read_splits(config: TrainConfig) -> tuple[Dataset, Splits]:
    """Return all examples of a run and its splits.

    Raises:
        DataError: The data cannot be read, or training makes no sense with it.
        UsageError: An option does not fit it.
    """
    dataset = read(config.data.source, config.data)
    return dataset, split(dataset, config.data, config.train.seed)


def _load(config: TrainConfig, dataset: Dataset) -> tuple[TrainConfig, ModelSource, Model]:
    """Load the model; the returned configuration names the commit of its weights."""
    options = config.model
    source = find_model(options.model, revision=options.revision, allow_pickle=options.allow_pickle)
    if source.revision is not None:
        config = override(config, {"revision": source.revision})
    if config.decision.zero_shot:
        require_causal(source)
    model = load_model(source, dataset.class_names, dataset.task, config.model, config.train.seed)
    return config, source, model


def _check_lengths(dataset: Dataset, model: Model) -> tuple[Finding, ...]:
    counts, settings = model.token_counts(dataset.texts), model.settings
    windows = settings.long_texts == "windows"
    finding = check_lengths(dataset.texts, counts, settings.max_length, dataset.rows, windows=windows)
    return (finding,) if finding.count else ()


def _check_decision(config: TrainConfig, task: str, model: Model) -> None:
    """Refuse what the task or the model cannot do, before anything is trained.

    Raises:
        UsageError: A threshold for more than two classes, or abstention with several labels per text.
        ModelError: The head has no linear layer to fold a temperature into.
    """
    options = config.decision
    if options.threshold is not None and task == "multi-class":
        raise UsageError(
            "--threshold is for two classes or several labels per text; with more classes the most probable one "
            "is predicted. Leave it out."
        )
    if options.abstain_below is not None and task == "multi-label":
        raise UsageError("--abstain-below is for one label per text; leave it out, or use --threshold.")
    if options.calibrate:
        output_layer(model)


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return the configuration as it is kept with a run: it finds the same files from any folder."""
    data = {name: getattr(config.data, name) for name in ("source", "validation_data", "test_data")}
    paths = [name for name, value in data.items() if value and Path(value).exists()]
    changes = {name: str(Path(data[name]).absolute()) for name in paths}
    if Path(config.model.model).is_dir():
        changes["model"] = str(Path(config.model.model).absolute())
    return override(config, changes)


def _identity(
    config: TrainConfig, dataset: Dataset, splits: Splits, source: ModelSource, encoded: list[Encoded]
) -> dict[str, str]:
    options = dataclasses.asdict(config)
    for name in ("track", "device", "cache_limit"):  # these do not change the result
        options["train"].pop(name)
    seed = options["train"].pop("seed")
    parts = {
        "data": [(split.texts, split.labels) for split in (splits.train, splits.validation, splits.test)],
        "labels": dataset.class_names,
        "seed": seed,
        "tokenizer": encoded,
        "model": source.digest,
        "options": options,
    }
    return {name: hashlib.sha256(json.dumps(part).encode()).hexdigest() for name, part in parts.items()}
