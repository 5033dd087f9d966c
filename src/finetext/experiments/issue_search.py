"""`find_issues()`: likely wrong labels, near-duplicates and outliers of a dataset, before any training."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from finetext.cache import CacheFull, cache_features
from finetext.data import Dataset, assign_folds, group_texts
from finetext.engine import choose_device, computes_bf16_fast
from finetext.errors import DataError, UsageError
from finetext.evaluation import encode_targets
from finetext.experiments.data_issues import DataIssues, Issue
from finetext.experiments.label_errors import judge_labels, judged_classes, out_of_fold
from finetext.experiments.near_duplicates import find_similar, unit_vectors
from finetext.models import ModelConfig, find_model, load_model, make_trunk, mean_vectors, two_thirds
from finetext.training import Progress, activation_cache

FOLDS = 5
SIMILAR = 0.95
"""Cosine from which two texts count as near-duplicates."""
NEIGHBOURS = 10


def find_issues(
    dataset: Dataset,
    config: ModelConfig | None = None,
    *,
    folds: int = FOLDS,
    seed: int = 42,
    similar: float = SIMILAR,
    device: str = "auto",
    progress: Progress | None = None,
) -> DataIssues:
    """Look for wrong labels, near-duplicates and outliers.

    Args:
        dataset: What `examine` returned.
        config: The model whose hidden states are used.
        folds: Each text's probabilities come from classifiers fitted on the other folds.
        seed: Of the folds and of the TF-IDF classifier.
        similar: Cosine from which texts count as near-duplicates.
        device: Where the model runs.
        progress: Receives the number of texts that the model has read.

    Raises:
        UsageError: cleanlab is not installed, or an option makes no sense.
        DataError: There are too few texts or classes.
        ModelError: The model is missing or refused.
    """
    try:
        import cleanlab  # noqa: F401
    except ImportError:
        raise UsageError('--label-errors needs cleanlab: pip install "finetext[label-errors]"') from None
    judged = judged_classes(dataset)
    _refuse_senseless(dataset, folds, similar, int(judged.sum()))
    vectors = text_vectors(dataset, config or ModelConfig(), seed, device, progress)
    targets = encode_targets(dataset.labels, dataset.class_names, dataset.task)
    probs = out_of_fold(dataset, vectors, targets, assign_folds(dataset, folds, seed), seed)
    quality, wrong, suggested = judge_labels(targets, probs, judged)
    issues = [
        *_label_errors(dataset, quality, wrong, suggested),
        *_near_duplicates(dataset, unit_vectors(vectors.numpy()), similar),
        *_outliers(dataset, vectors.numpy()),
    ]
    rare = [repr(name) for name, known in zip(dataset.class_names, judged, strict=True) if not known]
    notes = [f"Too rare to judge their labels: {', '.join(rare)}."] if rare else []
    return DataIssues(dataset, tuple(issues), probs, quality, tuple(notes))


def _refuse_senseless(dataset: Dataset, folds: int, similar: float, judged: int) -> None:
    if folds < 2:
        raise UsageError(f"--folds {folds}: must be at least 2, or no text is left to learn from.")
    if not 0 < similar <= 1:
        raise UsageError(f"`similar` {similar:g}: must be a cosine above 0 and up to 1.")
    different = len(set(dataset.keys))
    if different < max(folds, 4):
        raise DataError(
            f"{dataset.source.name}: {different} different texts are too few to look for wrong labels in "
            f"{folds} folds. Add examples, or leave out --label-errors."
        )
    if judged < (1 if dataset.task == "multi-label" else 2):
        raise DataError(
            f"{dataset.source.name}: no two classes have two different texts each. "
            "Add examples, or leave out --label-errors."
        )


def text_vectors(
    dataset: Dataset, config: ModelConfig, seed: int, device: str = "auto", progress: Progress | None = None
) -> Tensor:
    """Return the mean of each text's hidden states after two thirds of a model's layers, `(N, H)` float32.

    They are read from the activation cache; missing ones are computed and cached, if there is room.
    """
    progress, stage = progress or Progress(), "reading texts"
    source = find_model(config.model, revision=config.revision, allow_pickle=config.allow_pickle)
    model = load_model(source, dataset.class_names, dataset.task, config, seed)
    model.network.to(choose_device(device))
    encoded, cut = model.encode(dataset.texts), two_thirds(model.structure.depth)
    arithmetic = "bf16" if computes_bf16_fast(model.device) else "fp32"
    trunk = make_trunk(model, cut, arithmetic=arithmetic, dtype="bf16", revision=source.revision)

    def tokens_read(done: int, total: int) -> None:
        progress.working(stage, len(dataset) * done // total, len(dataset))

    if not isinstance(trunk, str):
        try:
            stored = cache_features(trunk, {"all": encoded}, activation_cache(), tokens_read, lambda: None)
            progress.working(stage, len(dataset), len(dataset))
            return stored["all"].means()
        except CacheFull:
            pass
        finally:
            model.uncut()
    windows = sum(map(len, encoded))
    return mean_vectors(model, encoded, cut, progress.counter(stage, windows))


def _label_errors(
    dataset: Dataset, quality: NDArray[np.float64], wrong: NDArray[np.bool_], suggested: NDArray[np.int64]
) -> list[Issue]:
    flagged = np.flatnonzero(wrong)
    names = np.array(dataset.class_names, dtype=object)
    issues = []
    for i in flagged[np.argsort(quality[flagged], kind="stable")].tolist():
        labels = tuple(names[suggested[i] == 1]) if suggested.ndim == 2 else (names[suggested[i]],)
        issue = Issue("label-error", i, dataset.rows[i], dataset.labels[i], labels, float(quality[i]))
        issues.append(issue)
    return issues


def _near_duplicates(dataset: Dataset, units: NDArray[np.float32], threshold: float) -> list[Issue]:
    """Group near-duplicates; of equal texts, which the other checks list, the first stands for all."""
    first = _first_of_equal_texts(dataset)
    group_of, cosines = find_similar(units[first], threshold)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place in np.flatnonzero(cosines > 0).tolist():
        groups[int(group_of[place])].append(place)
    issues: dict[str, list[Issue]] = {"similar-conflict": [], "similar-text": []}
    for places in sorted(groups.values(), key=lambda places: -float(cosines[places].max())):
        conflict = len({frozenset(dataset.labels[first[place]]) for place in places}) > 1
        kind = "similar-conflict" if conflict else "similar-text"
        group = dataset.rows[first[places[0]]]
        for place in places:
            i, cosine = first[place], float(cosines[place])
            issues[kind].append(Issue(kind, i, dataset.rows[i], dataset.labels[i], None, cosine, group))
    return [*issues["similar-conflict"], *issues["similar-text"]]


def _outliers(dataset: Dataset, vectors: NDArray[np.float32]) -> list[Issue]:
    """Find texts whose mean distance to their nearest neighbours is beyond Tukey's fence (Tukey, 1977)."""
    from cleanlab.outlier import OutOfDistribution

    first = _first_of_equal_texts(dataset)
    settings = {"k": min(NEIGHBOURS, len(first) - 1)}
    scores = OutOfDistribution(settings).fit_score(features=vectors[first], verbose=False)
    # cleanlab's score is exp(-distance / median distance).
    distances = -np.log(np.maximum(scores.astype(np.float64), 1e-300))
    low, high = np.quantile(distances, (0.25, 0.75))
    beyond = np.flatnonzero(distances > high + 1.5 * (high - low))
    return [
        Issue("outlier", i, dataset.rows[i], dataset.labels[i], None, float(scores[place]))
        for place in beyond[np.argsort(scores[beyond], kind="stable")]
        for i in (first[place],)
    ]


def _first_of_equal_texts(dataset: Dataset) -> list[int]:
    return sorted(group[0] for groups in group_texts(dataset).values() for group in groups)
