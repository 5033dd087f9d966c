"""`find_faults()`: likely wrong labels, nearly equal texts and outliers of a data set, before any training.

Wrong labels are found by confident learning (Northcutt et al., "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 2021) with cleanlab, on the probabilities that each text gets from classifiers that have not
seen it: the mean of a logistic regression on a pretrained model's hidden states and of one on TF-IDF features.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from finetext.cache import StoreFull, store_features
from finetext.data import Dataset, assign_folds, group_texts
from finetext.engine import choose_device, computes_bf16_fast
from finetext.errors import DataError, UsageError
from finetext.evaluation import encode_targets, fit_tfidf
from finetext.experiments.data_issues import Fault, Faults
from finetext.experiments.near_duplicates import find_similar, unit_vectors
from finetext.models import find_model, load_model, make_trunk, mean_vectors, probabilities, two_thirds
from finetext.models.config import ModelConfig
from finetext.training import fit_logistic
from finetext.training.inputs import feature_store

FOLDS = 5
SIMILAR = 0.95
"""Cosine from which two texts count as nearly the same."""
STRENGTH = 0.1
"""Of the penalty: strong, since the fit must not follow the wrong labels that it is to show."""
NEIGHBOURS = 10


def find_faults(
    dataset: Dataset,
    config: ModelConfig | None = None,
    *,
    folds: int = FOLDS,
    seed: int = 42,
    similar: float = SIMILAR,
    device: str = "auto",
    progress: Callable[[int], None] = lambda done: None,
) -> Faults:
    """Look for wrong labels, nearly equal texts and outliers.

    Args:
        dataset: What `examine` returned.
        config: The model whose hidden states are used.
        folds: Each text's probabilities come from classifiers fitted on the other folds.
        seed: Of the folds and of the TF-IDF classifier.
        similar: Cosine from which texts count as nearly the same.
        device: Where the model runs.
        progress: Called with the number of texts that the model has read since the last call.

    Raises:
        UsageError: cleanlab is not installed, or an option makes no sense.
        DataError: There are too few texts or classes.
        ModelError: The model cannot be had.
    """
    _require_cleanlab()
    _refuse_senseless(dataset, folds, similar)
    vectors = text_vectors(dataset, config or ModelConfig(), seed, device, progress)
    targets = encode_targets(dataset.labels, dataset.class_names, dataset.task)
    probs = out_of_fold(dataset, vectors, targets, assign_folds(dataset, folds, seed), seed)
    judged = judged_classes(dataset)
    quality, wrong, suggested = judge_labels(targets, probs, judged)
    faults = [
        *_label_faults(dataset, quality, wrong, suggested),
        *_similar_faults(dataset, unit_vectors(vectors.numpy()), similar),
        *_outlier_faults(dataset, vectors.numpy()),
    ]
    alone = [name for name, own in zip(dataset.class_names, judged, strict=True) if not own]
    notes = [f"Too rare to judge their labels: {', '.join(map(repr, alone))}."] if alone else []
    return Faults(dataset, tuple(faults), probs, quality, tuple(notes))


def _require_cleanlab() -> None:
    try:
        import cleanlab  # noqa: F401
    except ImportError:
        raise UsageError('--label-errors needs cleanlab: pip install "finetext[label-errors]"') from None


def _refuse_senseless(dataset: Dataset, folds: int, similar: float) -> None:
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
    if sum(judged_classes(dataset)) < (1 if dataset.task == "multi-label" else 2):
        raise DataError(
            f"{dataset.source.name}: no two classes have two different texts each. "
            "Add examples, or leave out --label-errors."
        )


def judged_classes(dataset: Dataset) -> NDArray[np.bool_]:
    """Return `(C,)`: whether a class has two different texts, so that each can be held against another."""
    texts: dict[str, set[str]] = {name: set() for name in dataset.class_names}
    for key, names in zip(dataset.keys, dataset.labels, strict=True):
        for name in names:
            texts[name].add(key)
    return np.array([len(texts[name]) > 1 for name in dataset.class_names])


def text_vectors(
    dataset: Dataset,
    config: ModelConfig,
    seed: int,
    device: str = "auto",
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Return the mean of each text's hidden states after two thirds of a model's layers, `(N, H)` float32.

    They are taken from the feature store, and what it lacks is computed and kept there, if it has room.
    """
    source = find_model(config.model, revision=config.revision, allow_pickle=config.allow_pickle)
    model = load_model(source, dataset.class_names, dataset.task, config, seed)
    model.network.to(choose_device(device))
    encoded, cut = model.encode(dataset.texts), two_thirds(model.structure.depth)
    arithmetic = "bf16" if computes_bf16_fast(model.device) else "fp32"
    trunk = make_trunk(model, cut, arithmetic=arithmetic, dtype="bf16", revision=source.revision)
    told = 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        texts = len(dataset) * done // total
        progress(texts - told)
        told = texts

    if not isinstance(trunk, str):
        try:
            stored = store_features(trunk, {"all": encoded}, feature_store(), tell, lambda: None)["all"]
        except StoreFull:
            pass
        else:
            progress(len(dataset) - told)
            return stored.means()
        finally:
            model.uncut()
    return mean_vectors(model, encoded, cut, progress)


def out_of_fold(
    dataset: Dataset, vectors: Tensor, targets: NDArray[np.int64], folds: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Return the probabilities `(N, C)` that each text gets from classifiers fitted on the other folds."""
    classes = len(dataset.class_names)
    wanted = torch.from_numpy(targets.astype(np.float32) if targets.ndim == 2 else targets)
    loss = functional.binary_cross_entropy_with_logits if targets.ndim == 2 else functional.cross_entropy
    probs = np.zeros((len(dataset), classes))
    for fold in range(int(folds.max()) + 1):
        held, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        part = vectors[rest], wanted[rest]
        fit = fit_logistic(*part, part, classes, loss, strengths=(STRENGTH,))
        read = probabilities(fit.logits(vectors[held]).numpy(), dataset.task)
        predict = fit_tfidf([dataset.texts[i] for i in rest], targets[rest], classes, seed)
        probs[held] = (read + predict([dataset.texts[i] for i in held])) / 2
    return probs


def judge_labels(
    targets: NDArray[np.int64], probs: NDArray[np.float64], judged: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Rate labels by out-of-fold probabilities.

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        probs: `(N, C)`.
        judged: `(C,)`, the classes about which something can be said.

    Returns:
        The trust that each example's labels deserve, `(N,)`, NaN for examples of the other classes; whether they
        are probably wrong, `(N,)`; and those that they should be, like `targets`.
    """
    if targets.ndim == 2:
        return _judge_several(targets, probs, judged)
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    quality, wrong = np.full(len(targets), np.nan), np.zeros(len(targets), dtype=np.bool_)
    suggested = targets.copy()
    known = np.flatnonzero(judged)
    rows = np.flatnonzero(judged[targets])
    given = np.searchsorted(known, targets[rows])
    own = probs[np.ix_(rows, known)]
    own = own / np.maximum(own.sum(axis=1, keepdims=True), 1e-12)
    quality[rows] = get_label_quality_scores(given, own)
    wrong[rows] = find_label_issues(given, own, n_jobs=1)
    suggested[rows] = known[own.argmax(axis=1)]
    return quality, wrong, suggested


def _judge_several(
    targets: NDArray[np.int64], probs: NDArray[np.float64], judged: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    known = np.flatnonzero(judged)
    given = [np.flatnonzero(row).tolist() for row in targets[:, known]]
    own = probs[:, known]
    quality = np.asarray(get_label_quality_scores(given, own), dtype=np.float64)
    issues = find_multilabel_issues_per_class(given, own, n_jobs=1)  # (N, K)
    suggested = targets.copy()
    suggested[:, known] ^= issues
    return quality, np.asarray(issues.any(axis=1)), suggested


def _label_faults(
    dataset: Dataset, quality: NDArray[np.float64], wrong: NDArray[np.bool_], suggested: NDArray[np.int64]
) -> list[Fault]:
    def names(index: int) -> tuple[str, ...]:
        own = suggested[index]
        if own.ndim == 0:
            return (dataset.class_names[int(own)],)
        return tuple(name for name, chosen in zip(dataset.class_names, own, strict=True) if chosen)

    flagged = np.flatnonzero(wrong)
    return [
        Fault("label-error", i, dataset.rows[i], dataset.labels[i], names(i), float(quality[i]))
        for i in map(int, flagged[np.argsort(quality[flagged], kind="stable")])
    ]


def _similar_faults(dataset: Dataset, units: NDArray[np.float32], threshold: float) -> list[Fault]:
    """Group nearly equal texts; of equal ones, which the other checks list, the first stands for all."""
    first = [members[0] for members in group_texts(dataset).members]
    found = find_similar(units[first], threshold)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place in np.flatnonzero(found.cosine > 0).tolist():
        groups[int(found.group[place])].append(place)
    faults: dict[str, list[Fault]] = {"similar-conflict": [], "similar-text": []}
    for places in sorted(groups.values(), key=lambda own: -float(found.cosine[own].max())):
        conflict = len({frozenset(dataset.labels[first[place]]) for place in places}) > 1
        kind = "similar-conflict" if conflict else "similar-text"
        group = dataset.rows[first[places[0]]]
        for place in places:
            i, cosine = first[place], float(found.cosine[place])
            faults[kind].append(Fault(kind, i, dataset.rows[i], dataset.labels[i], None, cosine, group))
    return [*faults["similar-conflict"], *faults["similar-text"]]


def _outlier_faults(dataset: Dataset, vectors: NDArray[np.float32]) -> list[Fault]:
    """Find texts whose mean distance to their nearest neighbours is beyond Tukey's fence (Tukey, 1977)."""
    from cleanlab.outlier import OutOfDistribution

    first = np.array([members[0] for members in group_texts(dataset).members])
    settings = {"k": min(NEIGHBOURS, len(first) - 1)}
    scores = OutOfDistribution(settings).fit_score(features=vectors[first], verbose=False)
    # cleanlab's score is exp(-distance / median distance).
    distances = -np.log(np.maximum(scores.astype(np.float64), 1e-300))
    low, high = np.quantile(distances, (0.25, 0.75))
    beyond = np.flatnonzero(distances > high + 1.5 * (high - low))
    found = []
    for place in beyond[np.argsort(scores[beyond], kind="stable")]:
        i = int(first[place])
        found.append(Fault("outlier", i, dataset.rows[i], dataset.labels[i], None, float(scores[place])))
    return found


def rank(quality: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the places of examples, the least trusted labels first; those that cannot be judged last."""
    return np.argsort(np.asarray(quality), kind="stable")
