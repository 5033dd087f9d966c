"""Near-duplicate texts by the cosine of their vectors, in memory that does not grow with the number of pairs."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BLOCK = 2048
"""Number of vectors that are compared with as many others at a time."""


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors `(N, H)` centred and scaled to length 1.

    Hidden states of language models share a large common component (Ethayarajh, 2019); once it is removed, the cosine
    tells texts apart.
    """
    centred = vectors - vectors.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(lengths, 1e-12), dtype=np.float32)


def find_similar(
    units: NDArray[np.float32], threshold: float, block: int = BLOCK
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Link vectors whose cosine reaches a threshold, and group what is linked.

    Args:
        units: `(N, H)` of length 1.
        threshold: The least cosine.
        block: How many vectors are compared with as many others at a time.

    Returns:
        The group of each vector, `(N,)`: the index of the first vector that it is linked to, over any number of links;
        its own index if it is similar to no other. And `(N,)`, its cosine to the nearest other vector if that reaches
        the threshold; else 0.
    """
    group = np.arange(len(units))
    cosine = np.zeros(len(units), dtype=np.float32)
    for top in range(0, len(units), block):
        for left in range(top, len(units), block):
            table = units[top : top + block] @ units[left : left + block].T
            if top == left:
                table = np.triu(table, 1)
            rows, columns = np.nonzero(table >= threshold)
            if not len(rows):
                continue
            first, second, cosines = rows + top, columns + left, table[rows, columns]
            np.maximum.at(cosine, first, cosines)
            np.maximum.at(cosine, second, cosines)
            group = _join(group, first, second)
    return group, np.minimum(cosine, 1.0)


def _join(group: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups after linking some pairs; a group is named by its smallest index."""
    size = len(group)
    links = coo_array((np.ones(len(first), dtype=np.int8), (group[first], group[second])), (size, size))
    _, component = connected_components(links, directed=False)
    least = np.full(component.max() + 1, size, dtype=np.int64)
    np.minimum.at(least, component, np.arange(size))
    return np.asarray(least[component[group]], dtype=np.int64)
