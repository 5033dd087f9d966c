"""Balancing by undersampling, oversampling and class weights, as the options say."""

from collections import Counter

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from finetext.data import DataConfig, balance, class_weights, read, split
from finetext.errors import UsageError


@pytest.fixture
def dataset(tmp_path):
    rows = [f"text number {n},{'spam' if n % 5 == 0 else 'ham'}" for n in range(200)]
    (tmp_path / "data.csv").write_text("\n".join(["text,label", *rows]))
    return read(tmp_path / "data.csv", DataConfig())


def test_without_balancing_nothing_changes(dataset):
    assert balance(dataset, DataConfig(), 1) is dataset
    assert class_weights(dataset, DataConfig()) is None


def test_undersampling_drops_to_the_smallest_class(dataset):
    config = DataConfig(balance="undersample")
    balanced = balance(dataset, config, 1)
    assert balanced.count_labels() == {"ham": 40, "spam": 40}
    assert set(zip(balanced.texts, balanced.labels, strict=True)) <= set(
        zip(dataset.texts, dataset.labels, strict=True)
    )
    assert balanced.texts == balance(dataset, config, 1).texts != balance(dataset, config, 2).texts


def test_undersampling_of_train_leaves_the_other_splits_alone(dataset):
    splits = split(dataset, DataConfig(balance="undersample"), 1)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 200


def test_undersampling_everything_happens_before_splitting(dataset):
    config = DataConfig(balance="undersample", balance_scope="all")
    splits = split(dataset, config, 1)
    counts = [part.count_labels() for part in (splits.train, splits.validation, splits.test)]
    assert counts == [{"ham": 28, "spam": 28}, {"ham": 4, "spam": 4}, {"ham": 8, "spam": 8}]
    assert balance(splits.train, config, 1) is splits.train


def test_oversampling_repeats_up_to_the_largest_class(dataset):
    balanced = balance(dataset, DataConfig(balance="oversample"), 1)
    assert balanced.count_labels() == {"ham": 160, "spam": 160}
    repeats = Counter(
        text for text, names in zip(balanced.texts, balanced.labels, strict=True) if names == ("spam",)
    )
    assert set(repeats.values()) == {4}


def test_weights_are_inverse_frequencies(dataset):
    weights = class_weights(dataset, DataConfig(balance="weights"))
    labels = [label for (label,) in dataset.labels]
    assert weights == pytest.approx(
        compute_class_weight("balanced", classes=np.array(["ham", "spam"]), y=labels)
    )
    assert weights == [0.625, 2.5]


def test_custom_weights_are_in_class_order(dataset):
    config = DataConfig(balance="weights", class_weights={"spam": 3})
    assert class_weights(dataset, config) == [1.0, 3.0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            DataConfig(balance="weights", class_weights={"spma": 2}),
            "spma: no such class.*Did you mean 'spam'",
        ),
        (DataConfig(balance="weights", class_weights={"spam": -2}), "must be above 0"),
        (DataConfig(balance="weights", class_weights={"spam": float("nan")}), "must be above 0"),
        (DataConfig(class_weights={"spam": 2}), "needs .*--balance weights"),
    ],
)
def test_invalid_weights_are_refused(dataset, config, message):
    with pytest.raises(UsageError, match=message):
        class_weights(dataset, config)


@pytest.mark.parametrize("how", ["undersample", "oversample"])
def test_multi_label_data_cannot_be_resampled(tmp_path, how):
    (tmp_path / "data.csv").write_text(
        "text,label\n" + "".join(f"t{n},{'a|b' if n % 2 else 'a'}\n" for n in range(20))
    )
    dataset = read(tmp_path / "data.csv", DataConfig())
    with pytest.raises(UsageError, match=f"--balance {how} is not for multi-label"):
        balance(dataset, DataConfig(balance=how), 1)
    assert class_weights(dataset, DataConfig(balance="weights")) == [0.5, 1.0]
