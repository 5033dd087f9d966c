"""All that a run needs before its first step: data read, checked and split, the model loaded, texts encoded.

Nothing is written here, so that a mistake in the data or the options leaves no trace on the disk.
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

from finetext.data import Dataset, Finding, Splits, balance, check_lengths, class_weights, read, split
from finetext.engine import Encoded, Precision, choose_device, choose_precision
from finetext.errors import UsageError
from finetext.evaluation import encode_targets
from finetext.models import (
    Model,
    ModelSource,
    find_model,
    load_model,
    output_layer,
    require_causal,
    set_trainable,
)
from finetext.training.config import TrainConfig
from finetext.training.defaults import resolve_defaults
from finetext.training.optimizers import resolve_optimizer


@dataclass(frozen=True)
class Job:
    """A run that is ready to start.

    Attributes:
        config: Every option as resolved.
        dataset: All examples.
        splits: Train, validation and test; `train` is not balanced.
        train: The training split after balancing.
        class_weights: Weight of each class in the loss, in the order of their ids, or None.
        model: The model with its fresh head.
        model_source: Where its weights came from.
        encoded: The tokens of the training split after balancing.
        encoded_validation: Those of the validation split.
        precision: The arithmetic of training.
        optimizer: The optimizer that is really used.
        lengths: What the check of lengths found.
        notices: What the user should know.
        identity: Digests of what a run that resumes must share with this one.
    """

    config: TrainConfig
    dataset: Dataset
    splits: Splits
    train: Dataset
    class_weights: list[float] | None
    model: Model
    model_source: ModelSource
    encoded: list[Encoded]
    encoded_validation: list[Encoded]
    precision: Precision
    optimizer: str
    lengths: Finding
    notices: tuple[str, ...]
    identity: dict[str, str]

    def targets(self, split: Dataset) -> NDArray[Any]:
        """Return a split's labels as class ids `(N,)`, or as `(N, C)` zeros and ones if multi-label."""
        return encode_targets(split.labels, self.dataset.class_names, self.dataset.task)

    def train_targets(self) -> torch.Tensor:
        """Return the training targets: `(N,)` int64, or `(N, C)` float32 if multi-label."""
        return self.targets_tensor(self.train)

    def targets_tensor(self, split: Dataset) -> torch.Tensor:
        """Return a split's targets as `train_targets` does."""
        targets = self.targets(split)
        return torch.from_numpy(targets.astype(np.int64 if targets.ndim == 1 else np.float32))


def prepare(config: TrainConfig, parts: tuple[Dataset, Splits] | None = None) -> Job:
    """Read the data, load the model and encode the texts.

    Args:
        config: The options.
        parts: A dataset and its splits, read and drawn already; else both follow from the options.

    Raises:
        DataError: The data cannot be read, or training makes no sense with it.
        ModelError: The model cannot be had or is refused.
        UsageError: An option does not fit the data, the model or the machine.
    """
    config = with_absolute_paths(config)
    seed = config.train.seed
    device = choose_device(config.train.device)
    precision = choose_precision(config.train.precision, device)
    optimizer, optimizer_notice = resolve_optimizer(config.train.optimizer, device)
    dataset, splits = parts or read_splits(config)
    train = balance(splits.train, config.data, seed)
    weights = class_weights(train, config.data)
    source = find_model(
        config.model.model, revision=config.model.revision, allow_pickle=config.model.allow_pickle
    )
    if source.revision is not None:  # pinned: the run's configuration names the commit
        config = dataclasses.replace(
            config, model=dataclasses.replace(config.model, revision=source.revision)
        )
    if config.decision.zero_shot:
        require_causal(source)
    model = load_model(source, dataset.class_names, dataset.task, config.model, seed)
    _check_decision(config, dataset.task, model)
    width = model.network.config.get_text_config().hidden_size
    config = resolve_defaults(config, len(train), width, model.anatomy.depth)
    torch.manual_seed(seed)  # of the LoRA matrices
    set_trainable(model, config.model, 0)
    model.network.to(device)
    encoded = model.encode(train.texts)
    lengths = check_lengths(
        dataset.texts,
        model.token_counts(dataset.texts),
        model.settings.max_length,
        dataset.rows,
        windows=model.settings.long_texts == "windows",
    )
    findings = (*dataset.findings.warnings, *([lengths] if lengths.count else []))
    notices = (
        *(finding.line for finding in findings),
        *splits.notes,
        *model.notices,
        precision.notice,
        optimizer_notice,
    )
    return Job(
        config=config,
        dataset=dataset,
        splits=splits,
        train=train,
        class_weights=weights,
        model=model,
        model_source=source,
        encoded=encoded,
        encoded_validation=model.encode(splits.validation.texts),
        precision=precision,
        optimizer=optimizer,
        lengths=lengths,
        notices=tuple(notice for notice in notices if notice),
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


def _check_decision(config: TrainConfig, task: str, model: Model) -> None:
    """Refuse what the task or the model cannot do, before anything is trained.

    Raises:
        UsageError: Thresholds of several classes, or abstaining from several labels.
        ModelError: The head has no linear layer that a temperature could go into.
    """
    options = config.decision
    if options.threshold is not None and task == "multi-class":
        raise UsageError(
            "--threshold is for two classes or several labels a text; of more classes the likeliest is taken. "
            "Leave it out."
        )
    if options.abstain_below is not None and task == "multi-label":
        raise UsageError("--abstain-below is for one label a text; leave it out, or choose --threshold.")
    if options.calibrate:
        output_layer(model)


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return the configuration as it is kept with a run: it finds the same files from any folder."""
    data: dict[str, Any] = {
        name: str(Path(value).absolute())
        for name in ("source", "validation_data", "test_data")
        if (value := getattr(config.data, name)) and Path(value).exists()
    }
    model: dict[str, Any] = (
        {"model": str(Path(config.model.model).absolute())} if Path(config.model.model).is_dir() else {}
    )
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, **data),
        model=dataclasses.replace(config.model, **model),
    )


def _identity(
    config: TrainConfig, dataset: Dataset, splits: Splits, source: ModelSource, encoded: list[Encoded]
) -> dict[str, str]:
    options = dataclasses.asdict(config)
    for name in ("track", "device", "cache_limit"):  # these do not change what is learnt
        options["train"].pop(name)
    seed = options["train"].pop("seed")
    examples = [(s.texts, s.labels) for s in (splits.train, splits.validation, splits.test)]
    parts = {
        "data": examples,
        "labels": dataset.class_names,
        "seed": seed,
        "tokenizer": encoded,
        "model": source.digest,
        "options": options,
    }
    return {name: _digest(part) for name, part in parts.items()}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()
