"""The results of a learning curve: its trials, and mean, spread and interval at each training-set size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from finetext.metric_names import higher_is_better
from finetext.training import TrainConfig


@dataclass(frozen=True)
class CurveTrial:
    """The fine-tuned model and the baseline, trained on the same texts and tested on the same texts.

    Attributes:
        size: Labelled texts used, those for validation included.
        trial: Number of the sample of this size, from 1.
        train: Texts in the training split, before balancing.
        validation: Texts in the validation split.
        test: Texts in the test split.
        epoch: The best epoch on validation; 0 for the linear-probe initialisation.
        model: The fine-tuned model's metrics on the test split.
        baseline: The baseline's; it learns from the training and validation splits together.
        mcnemar_p_value: Of the two on these test texts.
        feature_seconds: Time to compute the frozen layers' activations that were not cached yet.
        train_seconds: Time of the training.
        computed_tokens: Tokens that went through the frozen layers.
    """

    size: int
    trial: int
    train: int
    validation: int
    test: int
    epoch: float
    model: dict[str, float | None]
    baseline: dict[str, float | None]
    mcnemar_p_value: float
    feature_seconds: float
    train_seconds: float
    computed_tokens: int


@dataclass(frozen=True)
class CurvePoint:
    """One metric at one size, over the trials of that size.

    Attributes:
        size: Labelled texts used.
        trials: Number of trials.
        model: Mean of the fine-tuned model.
        model_sd: Its standard deviation; None for a single trial.
        baseline: Mean of the baseline.
        baseline_sd: Its standard deviation.
        difference: Mean of the paired differences, model minus baseline.
        difference_sd: Their standard deviation.
        low: Lower end of the 95 % t interval of the mean difference; None for a single trial.
        high: Upper end.
        verdict: `ahead`, `behind`, or `not shown`, of the model.
    """

    size: int
    trials: int
    model: float | None
    model_sd: float | None
    baseline: float | None
    baseline_sd: float | None
    difference: float | None
    difference_sd: float | None
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True)
class LearningCurve:
    """A finished learning curve.

    Attributes:
        folder: Its files.
        config: The options that all trials share.
        source: Name of the data.
        synthetic: Whether the texts were written for finetext.
        trials: All trials, smallest size first.
    """

    folder: Path
    config: TrainConfig
    source: str
    synthetic: bool
    trials: tuple[CurveTrial, ...]

    @property
    def trials_per_size(self) -> int:
        """Number of trials of each size."""
        return max(trial.trial for trial in self.trials)

    def points(self, metric: str) -> list[CurvePoint]:
        """Return a metric at each size."""
        sizes = dict.fromkeys(trial.size for trial in self.trials)
        return [_point([trial for trial in self.trials if trial.size == size], metric) for size in sizes]


def _point(trials: Sequence[CurveTrial], metric: str) -> CurvePoint:
    pairs = [
        (model, baseline)
        for trial in trials
        if (model := trial.model[metric]) is not None and (baseline := trial.baseline[metric]) is not None
    ]
    model, model_sd = _mean_and_deviation([model for model, _ in pairs])
    baseline, baseline_sd = _mean_and_deviation([baseline for _, baseline in pairs])
    difference, sd = _mean_and_deviation([model - baseline for model, baseline in pairs])
    low = high = None
    verdict = "not shown"
    if difference is not None and sd is not None:
        # Student's t: with few trials the standard deviation is itself uncertain.
        margin = float(stats.t.ppf(0.975, len(pairs) - 1)) * sd / math.sqrt(len(pairs))
        low, high = difference - margin, difference + margin
        better, worse = (low > 0, high < 0) if higher_is_better(metric) else (high < 0, low > 0)
        verdict = "ahead" if better else "behind" if worse else verdict
    return CurvePoint(
        trials[0].size, len(pairs), model, model_sd, baseline, baseline_sd, difference, sd, low, high, verdict
    )


def _mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
