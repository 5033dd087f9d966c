"""Examples in memory, without a file."""

import hashlib
import json
from collections.abc import Sequence

from finetext.data.dataset import Dataset, Source, name_task
from finetext.errors import DataError


def dataset_from_memory(
    texts: Sequence[str], labels: Sequence[tuple[str, ...]], class_names: Sequence[str], *, multi: bool
) -> Dataset:
    """Return texts and labels in memory as a dataset; rows count from 1.

    Args:
        texts: The texts.
        labels: The class names of each: exactly one, unless `multi`.
        class_names: In the order of their ids; of two, the second is the positive one.
        multi: Whether a text may have any number of labels.

    Raises:
        DataError: There are no texts, or only one class.
    """
    if not texts:
        raise DataError("there are no texts to learn from.")
    if len(class_names) < 2:
        raise DataError("the labels name only one class; at least two are needed to tell texts apart.")
    content = json.dumps([list(texts), [list(names) for names in labels]], ensure_ascii=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Dataset(
        texts=list(texts),
        labels=list(labels),
        rows=list(range(1, len(texts) + 1)),
        class_names=tuple(class_names),
        task=name_task(multi, len(class_names)),
        source=Source("the given texts", (), "memory", "text", "label", digest),
    )
