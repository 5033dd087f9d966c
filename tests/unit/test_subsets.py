"""Samples for a learning curve: sizes, classes, and disjoint splits."""

from collections import Counter

import pytest

from finetext.data import DataConfig, fold, read
from finetext.errors import UsageError
from finetext.experiments.subsets import Pool


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """300 rows with 150 distinct texts, many of them repeated in different case, and 10 % spam."""
    path = tmp_path_factory.mktemp("data") / "doubled.csv"
    rows = [(f"text number {n}", "spam" if n % 10 == 0 else "ham") for n in range(150)]
    rows += [(text.upper() if n % 2 else f"  {text}", label) for n, (text, label) in enumerate(rows)]
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def keys(part):
    return {fold(text) for text in part.texts}


@pytest.mark.parametrize("size", [3, 8, 20, 64, 100])
def test_splits_are_disjoint_and_have_the_requested_sizes(data, size):
    pool = Pool(read(data, DataConfig()), DataConfig(), 1)
    for trial in range(5):
        draw = pool.draw(size, 40, trial)
        train, validation, test = draw.splits.train, draw.splits.validation, draw.splits.test
        assert len(train) + len(validation) == size == len(keys(draw.labelled)) and len(test) == 40
        assert not keys(train) & keys(validation) and not keys(draw.labelled) & keys(test)
        assert {name for (name,) in train.labels} == {"ham", "spam"}
        assert len(validation) == max(1, round(size / 10))
        assert len(draw.dataset) == size + 40 == len(keys(draw.dataset))
    assert Counter(test.labels)[("spam",)] == 4


def test_trials_differ_and_the_same_seed_repeats_them(data):
    dataset = read(data, DataConfig())
    first, second = (Pool(dataset, DataConfig(), 1) for _ in range(2))
    assert first.draw(20, 40, 1) == second.draw(20, 40, 1)
    assert first.draw(20, 40, 1) != first.draw(20, 40, 2)
    assert first.draw(20, 40, 1) != Pool(dataset, DataConfig(), 2).draw(20, 40, 1)


def test_test_texts_come_from_the_test_split_of_the_source(data, tmp_path):
    rows = data.read_text().splitlines()[1:151]
    path = tmp_path / "own.csv"
    path.write_text(
        "text,label,split\n" + "\n".join(f"{r},{'test' if n < 60 else 'train'}" for n, r in enumerate(rows))
    )
    config = DataConfig(split_column="split")
    pool = Pool(read(path, config), config, 1)
    draw = pool.draw(30, 50, 1)
    test_texts = {row.split(",")[0] for row in rows[:60]}
    assert set(draw.splits.test.texts) <= test_texts and not set(draw.labelled.texts) & test_texts
    assert pool.most(50) == 90
    with pytest.raises(UsageError, match="60 different"):
        pool.most(61)


def test_a_test_size_that_leaves_no_training_texts_is_refused(data):
    pool = Pool(read(data, DataConfig()), DataConfig(), 1)
    assert pool.most(40) == 110 and pool.least == 3
    with pytest.raises(UsageError, match="Choose between 1 and 147"):
        pool.most(1024)


def test_undersampling_the_whole_set_balances_the_draws(data):
    config = DataConfig(balance="undersample", balance_scope="all")
    draw = Pool(read(data, DataConfig()), config, 1).draw(10, 6, 1)
    assert abs(Counter(draw.labelled.labels)[("spam",)] - 5) <= 1
