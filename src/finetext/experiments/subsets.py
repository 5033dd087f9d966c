"""Fresh samples of a dataset for a learning curve: some texts to learn from, others to test on.

Equal texts (folded) count as one text and are drawn once, so that "64 texts" are 64 different ones. The texts to learn
from include the validation split: a share of them, at least one text.
"""

from dataclasses import dataclass, replace

import numpy as np

from finetext.data import DataConfig, Dataset, Findings, Splits, allocate, group_texts, limit, undersample
from finetext.errors import UsageError


@dataclass(frozen=True)
class Draw:
    """One sample.

    Attributes:
        labelled: The texts to learn from: training and validation split together.
        splits: The three splits.
        dataset: All texts of the sample.
    """

    labelled: Dataset
    splits: Splits
    dataset: Dataset


class Pool:
    """The distinct texts of a dataset, by class.

    If the source has a test split of its own, test texts are drawn only from it.

    Attributes:
        source: Where the dataset comes from.
    """

    def __init__(self, dataset: Dataset, config: DataConfig, seed: int) -> None:
        if config.limit is not None:
            dataset = limit(dataset, config.limit, seed)
        if config.balance == "undersample" and config.balance_scope == "all":
            dataset = undersample(dataset, seed)
        self.source = dataset.source
        self._dataset, self._share, self._seed = dataset, config.validation, seed
        strata = group_texts(dataset)
        source_splits = dataset.given_splits
        self._has_test = source_splits is not None and "test" in source_splits
        self._train: dict[str, list[int]] = {name: [] for name in strata}
        self._test: dict[str, list[int]] = {name: [] for name in strata}
        for stratum, members in ((name, group) for name, groups in strata.items() for group in groups):
            # A text under two labels stands for the more frequent one.
            text = next(index for index in members if dataset.strata[index] == stratum)
            in_test = source_splits is not None and any(source_splits[i] == "test" for i in members)
            (self._test if in_test else self._train)[stratum].append(text)
        self._train = {name: texts for name, texts in self._train.items() if texts}

    @property
    def least(self) -> int:
        """Size of the smallest sample: each class once in training, and a text for validation."""
        return len(self._train) + 1

    def most(self, test_size: int) -> int:
        """Return the size of the largest sample besides `test_size` test texts.

        Raises:
            UsageError: There are not enough texts to test on.
        """
        texts = sum(map(len, self._train.values()))
        room = sum(map(len, self._test.values())) if self._has_test else texts - self.least
        if not 1 <= test_size <= room:
            where = "the source's own test split holds" if self._has_test else "the data leave"
            raise UsageError(
                f"--test-size {test_size}: {where} {max(room, 0):,} different texts to test on. "
                f"Choose between 1 and {max(room, 1):,}."
            )
        return texts if self._has_test else texts - test_size

    def draw(self, size: int, test_size: int, trial: int) -> Draw:
        """Return a fresh sample, stratified by class; the same arguments give the same sample.

        Args:
            size: Texts to learn from, those for validation included.
            test_size: Texts to test on.
            trial: Number of the sample.
        """
        random = np.random.default_rng([self._seed, 4, size, trial])
        train = {name: random.permutation(texts).tolist() for name, texts in self._train.items()}
        sizes = [len(texts) for texts in train.values()]
        if self._has_test:
            drawn = {name: random.permutation(texts).tolist() for name, texts in self._test.items()}
            have = [len(texts) for texts in drawn.values()]
            quota = allocate(test_size, have, [0] * len(have), have)
        else:
            drawn = train
            quota = allocate(test_size, sizes, [min(1, n - 1) for n in sizes], [n - 1 for n in sizes])
        test = [index for texts, n in zip(drawn.values(), quota, strict=True) for index in texts[:n]]
        taken = [0] * len(sizes) if self._has_test else quota
        left = [texts[n:] for texts, n in zip(train.values(), taken, strict=True)]
        quota = allocate(size, sizes, [1] * len(sizes), list(map(len, left)))
        held_out = allocate(
            max(1, round(size * self._share)), quota, [0] * len(quota), [max(0, n - 1) for n in quota]
        )
        validation = [index for texts, n in zip(left, held_out, strict=True) for index in texts[:n]]
        training = [
            index for texts, n, end in zip(left, held_out, quota, strict=True) for index in texts[n:end]
        ]
        return self._as_draw(sorted(training), sorted(validation), sorted(test))

    def _as_draw(self, training: list[int], validation: list[int], test: list[int]) -> Draw:
        def part(indices: list[int]) -> Dataset:
            return replace(self._dataset.subset(indices), findings=Findings())

        return Draw(
            labelled=part(sorted(training + validation)),
            splits=Splits(part(training), part(validation), part(test)),
            dataset=part(sorted(training + validation + test)),
        )
