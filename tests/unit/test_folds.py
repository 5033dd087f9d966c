import numpy as np
import polars as pl
import pytest

from finetext.data import DataConfig, fold_splits, held_out_folds, read
from finetext.training import TrainConfig, override, run_trial, train


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
    """Three classes, one with a single text; a third of the texts occur twice in different case."""
    rows = [(f"Message number {n}", "ab"[n % 3 == 0]) for n in range(60)]
    rows += [(f"MESSAGE  number {n}", "ab"[n % 3 == 0]) for n in range(20)] + [
        (f"rare {n}", "c") for n in range(3)
    ]
    path = tmp_path_factory.mktemp("data") / "repeated.csv"
    pl.DataFrame(rows, schema=["text", "label"], orient="row").write_csv(path)
    return path


def test_folds_keep_equal_texts_together_and_are_stratified(repeated):
    dataset = read(str(repeated), DataConfig())
    rare = [row for row, labels in enumerate(dataset.labels) if labels == ("c",)]
    dataset = dataset.subset([row for row in range(len(dataset)) if row not in rare[1:]])
    folds = held_out_folds(dataset, 4, 0)
    labels = np.array([names[0] for names in dataset.labels])
    assert (folds[labels == "c"] == -1).all()
    for name in "ab":
        sizes = np.bincount(folds[labels == name], minlength=4)
        assert sizes.max() - sizes.min() <= 2
    for key in set(dataset.keys):
        assert len({folds[i] for i, other in enumerate(dataset.keys) if other == key}) == 1


def test_the_splits_of_a_fold_hold_every_text_once(repeated):
    dataset = read(str(repeated), DataConfig())
    folds = held_out_folds(dataset, 4, 0)
    splits = fold_splits(dataset, folds == 2, DataConfig(), 0)
    assert splits.test.texts == [text for text, fold in zip(dataset.texts, folds, strict=True) if fold == 2]
    every = [*splits.train.texts, *splits.validation.texts, *splits.test.texts]
    assert sorted(every) == sorted(dataset.texts)


def test_cross_validation_reports_mean_and_std_and_reuses_cached_activations(tmp_path, checkpoint, messages):
    options = {"model": str(checkpoint("bert")), "epochs": 1, "trainable": "last-block", "seed": 3}
    run = train(messages, output=tmp_path / "run", folds=3, **options)
    folds = run.metrics.folds
    assert folds.k == 3
    assert folds.examples == 60
    accuracy = folds.metrics["accuracy"]
    assert accuracy.mean == pytest.approx(np.mean(accuracy.values))
    assert accuracy.std == pytest.approx(np.std(accuracy.values, ddof=1))
    again = run_trial(override(TrainConfig(), {"source": str(messages), **options}))
    assert again.computed_tokens == 0
