"""Splits hold every example once, keep equal texts together, are stratified, and depend only on the seed."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetext.data import DataConfig, Dataset, Findings, Source, fold, limit, read, split
from finetext.data.stratify import allocate, group_texts
from finetext.errors import DataError, UsageError

SHARED = Path(__file__).parents[3] / "shared/data"
with_shared = pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not here")
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def make(labels, texts=None, task=None, split_names=None) -> Dataset:
    names = [label if isinstance(label, tuple) else (label,) for label in labels]
    classes = tuple(sorted({name for several in names for name in several}))
    source = Source("data.csv", (), "0" * 64, "csv", "text", "label")
    return Dataset(
        texts=texts or [f"text {n}" for n in range(len(labels))],
        labels=names,
        rows=list(range(2, len(labels) + 2)),
        class_names=classes,
        task=task or ("binary" if len(classes) == 2 else "multi-class"),
        source=source,
        findings=Findings(),
        given_splits=split_names,
    )


def parts_of(splits):
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}


@st.composite
def datasets(draw):
    """Draw a dataset of 2 to 4 classes with groups of equal texts, and at least three distinct texts per class."""
    labels, texts = [], []
    for label in "abcd"[: draw(st.integers(2, 4))]:
        for number, size in enumerate(draw(st.lists(st.integers(1, 4), min_size=3, max_size=40))):
            labels += [label] * size
            texts += [
                f"{label} {number}",
                f"{label}  {number}",
                f"{label.upper()} {number}",
                f"{label} {number} ",
            ][:size]
    order = draw(st.permutations(range(len(labels))))
    return make([labels[i] for i in order], [texts[i] for i in order])


@settings(max_examples=200, deadline=None)
@given(datasets(), st.integers(0, 2**32 - 1))
def test_splits_are_a_stratified_partition_without_leaks(dataset, seed):
    splits = split(dataset, DataConfig(), seed)
    parts = parts_of(splits)
    assert sorted(row for part in parts.values() for row in part.rows) == dataset.rows
    keys = {name: {fold(text) for text in part.texts} for name, part in parts.items()}
    assert (
        not keys["train"] & keys["validation"]
        | keys["train"] & keys["test"]
        | keys["validation"] & keys["test"]
    )
    counts = dataset.count_labels()
    for name, part in parts.items():
        for label, count in part.count_labels().items():
            assert count > 0
            assert abs(count - SHARES[name] * counts[label]) <= 6  # because of groups of four, and rounding
        assert part.rows == sorted(part.rows)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(3, 60), min_size=2, max_size=6), st.integers(0, 1000))
def test_without_equal_texts_sizes_are_exact(sizes, seed):
    dataset = make([f"class {n}" for n, size in enumerate(sizes) for _ in range(size)])
    parts = parts_of(split(dataset, DataConfig(), seed))
    for name in ("validation", "test"):
        floor = len(sizes)  # every class is in every split
        assert len(parts[name]) == max(round(len(dataset) * SHARES[name]), floor)
        for label, count in parts[name].count_labels().items():
            assert abs(count - SHARES[name] * dataset.count_labels()[label]) < len(sizes)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_seed_determines_the_split(seed):
    dataset = make(["a", "b", "b"] * 40)
    one, same, other = (split(dataset, DataConfig(), number) for number in (seed, seed, seed + 1))
    assert parts_of(one) == parts_of(same)
    assert one.test.rows != other.test.rows


def test_a_class_of_three_is_in_all_splits():
    splits = split(make(["a"] * 97 + ["b"] * 3), DataConfig(), 0)
    assert [part.count_labels()["b"] for part in parts_of(splits).values()] == [1, 1, 1]
    assert [len(part) for part in parts_of(splits).values()] == [70, 10, 20]


def test_three_groups_of_equal_texts_go_into_three_splits():
    dataset = make(
        ["a"] * 100 + ["b"] * 15, [f"t{n}" for n in range(100)] + ["x"] * 5 + ["y"] * 5 + ["z"] * 5
    )
    counts = [part.count_labels()["b"] for part in parts_of(split(dataset, DataConfig(), 0)).values()]
    assert counts == [5, 5, 5]


def test_large_groups_do_not_all_go_into_train():
    dataset = make(["a"] * 200 + ["b"] * 200, [f"t{n // 4}" for n in range(400)])
    for part in parts_of(split(dataset, DataConfig(), 0)).values():
        assert len(part) in range(36, 289)
        assert set(part.count_labels().values()) <= {len(part) // 2, len(part) // 2 - 2, len(part) // 2 + 2}


def test_a_text_under_two_labels_stays_in_one_split():
    dataset = make(["a", "b"] * 60, [f"t{n // 3}" for n in range(120)])
    assert sum(map(len, group_texts(dataset).values())) == 40
    keys = [set(part.keys) for part in parts_of(split(dataset, DataConfig(), 3)).values()]
    assert sum(map(len, keys)) == 40


def test_multi_label_texts_are_stratified_by_their_rarest_label():
    labels = [("common", "rare") if n % 20 == 0 else ("common",) if n % 2 else () for n in range(400)]
    splits = split(make(labels, task="multi-label"), DataConfig(), 0)
    assert [part.count_labels()["rare"] for part in parts_of(splits).values()] == [14, 2, 4]
    assert [sum(not names for names in part.labels) for part in parts_of(splits).values()] == [126, 18, 36]


@pytest.mark.parametrize(
    ("validation", "test", "message"),
    [
        (0, 0.2, "`validation` must be above 0 and below 1, not 0"),
        (0.1, 1, "`test` must be above 0 and below 1, not 1"),
        (-0.1, 0.2, "`validation`"),
        (0.5, 0.5, "must leave something to train on"),
    ],
)
def test_invalid_shares_are_refused(validation, test, message):
    with pytest.raises(UsageError, match=message):
        split(make(["a", "b"] * 20), DataConfig(validation=validation, test=test), 0)


@with_shared
def test_the_sms_collection_is_split_without_a_leak():
    dataset = read(SHARED / "sms_spam/SMSSpamCollection", DataConfig())
    parts = parts_of(split(dataset, DataConfig(), 42))
    assert [len(part) for part in parts.values()] == [3902, 557, 1115]
    assert [part.count_labels()["spam"] for part in parts.values()] == [523, 75, 149]
    keys = [set(part.keys) for part in parts.values()]
    assert sum(map(len, keys)) == len(set(dataset.keys))


# Splits of the source ---------------------------------------------------------------------------------------


def make_with_splits(split_names, texts=None):
    return make(["a", "b"] * (len(split_names) // 2), texts, split_names=split_names)


def test_source_splits_are_kept():
    dataset = make_with_splits(["train"] * 6 + ["validation"] * 2 + ["test"] * 2)
    splits = split(dataset, DataConfig(), 0)
    assert [part.rows for part in parts_of(splits).values()] == [[2, 3, 4, 5, 6, 7], [8, 9], [10, 11]]
    assert splits.notes == ()


def test_a_missing_split_is_split_off_train():
    splits = split(make_with_splits(["train"] * 40 + ["test"] * 10), DataConfig(), 0)
    assert splits.test.rows == list(range(42, 52))
    assert (len(splits.train), len(splits.validation)) == (36, 4)


def test_texts_of_a_later_split_are_removed_from_earlier_ones_with_a_note():
    texts = [f"t{n}" for n in range(40)] + ["T1", "v", "w", "t2"] + ["t3", "V", "x", "t2 "]
    splits = split(
        make_with_splits(["train"] * 40 + ["validation"] * 4 + ["test"] * 4, texts), DataConfig(), 0
    )
    assert splits.train.texts == [f"t{n}" for n in range(40) if n not in (1, 2, 3)]
    assert splits.validation.texts == ["T1", "w"]
    assert splits.test.texts == ["t3", "V", "x", "t2 "]
    assert splits.notes == (
        "2 validation texts removed that also stand in test",
        "2 train texts removed that also stand in test",
        "1 train text removed that also stand in validation",
    )


def test_a_class_left_empty_by_removing_overlaps_is_refused():
    texts = ["b text", *(f"t{n}" for n in range(10)), "b text"]
    dataset = make(["b"] + ["a"] * 10 + ["b"], texts, split_names=["train"] * 11 + ["test"])
    with pytest.raises(DataError, match="no training example is left of 'b'"):
        split(dataset, DataConfig(), 0)


def test_a_validation_split_contained_in_test_is_refused():
    texts = [f"t{n}" for n in range(10)] + ["x", "y", "X", "Y"]
    dataset = make_with_splits(["train"] * 10 + ["validation"] * 2 + ["test"] * 2, texts)
    with pytest.raises(DataError, match="no validation example is left"):
        split(dataset, DataConfig(), 0)


def test_written_splits_are_read_back_as_they_are(tmp_path):
    texts = [
        '"quoted',
        "two\r\nlines",
        "cr\r",
        " spaces ",
        "a,b\t",
        "\0",
        "a\u2028b",
        "ümlaut 😀",
        "x,b\ny,a",
    ]
    texts += [f"text {n}" for n in range(31)]
    splits = split(make(["a", "b"] * 20, texts), DataConfig(), 0)
    splits.write(tmp_path / "splits")
    assert sorted(path.name for path in (tmp_path / "splits").iterdir()) == [
        "test.csv",
        "train.csv",
        "validation.csv",
    ]
    again = split(read(tmp_path / "splits", DataConfig()), DataConfig(), 1)
    for one, other in zip(parts_of(splits).values(), parts_of(again).values(), strict=True):
        assert (one.texts, one.labels) == (other.texts, other.labels)
    header, first = (tmp_path / "splits" / "train.csv").read_text().splitlines()[:2]
    assert header.replace('"', "") == "text,label,row"
    assert first.endswith(f",{splits.train.rows[0]}")


# Limit --------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(datasets(), st.integers(0, 1000), st.floats(0.2, 0.9))
def test_a_limit_keeps_the_class_shares_and_can_be_split(dataset, seed, share):
    wanted = max(int(len(dataset) * share), 12)
    subset = limit(dataset, wanted, seed)
    assert len(subset) == min(wanted, len(dataset))
    assert set(subset.rows) <= set(dataset.rows)
    assert subset.rows == limit(dataset, wanted, seed).rows
    for label, count in dataset.count_labels().items():
        assert abs(subset.count_labels()[label] - count * len(subset) / len(dataset)) < 10
    split(subset, DataConfig(), seed)


def test_a_limit_below_one_is_a_share():
    dataset = make(["a"] * 300 + ["b"] * 100)
    assert limit(dataset, 0.1, 0).count_labels() == {"a": 30, "b": 10}
    assert limit(dataset, 40, 0).count_labels() == {"a": 30, "b": 10}
    assert limit(dataset, 1000, 0) is dataset
    assert len(split(dataset, DataConfig(limit=0.1), 0).test) == 8


def test_source_splits_shrink_in_proportion():
    dataset = make_with_splits(["train"] * 140 + ["validation"] * 20 + ["test"] * 40)
    assert Counter(limit(dataset, 0.5, 0).given_splits) == {"train": 70, "validation": 10, "test": 20}


@pytest.mark.parametrize("value", [0, -3, 2.5, float("nan"), 5])
def test_invalid_limits_are_refused(value):
    with pytest.raises(UsageError, match="--limit"):
        limit(make(["a", "b"] * 20), value, 0)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=6).flatmap(
        lambda sizes: st.tuples(st.just(sizes), st.integers(0, sum(sizes)))
    )
)
def test_quotas_sum_up_and_are_within_one_of_the_share(case):
    sizes, total = case
    quotas = allocate(total, sizes, [0] * len(sizes), sizes)
    assert sum(quotas) == total
    for size, quota in zip(sizes, quotas, strict=True):
        assert abs(quota - total * size / max(sum(sizes), 1)) < 1
