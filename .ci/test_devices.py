"""Every kernel that takes `device` gives there what it gives without: design, section 3.

On "cpu" the code for devices runs in torch here; "cuda" is skipped where there is none.
"""
import numpy as np
import pytest
import torch

from embgeom.coherence import semantic_coherence
from embgeom.dimension import dimension_similarity, intrinsic_dimension
from embgeom._linalg import row_sums, unit_rows
from embgeom.neighbors import nearest_neighbors
from embgeom.lle import lle_similarity, lle_weights
from embgeom.similarity import global_similarity, neighbor_overlap, token_similarity
from embgeom.spaces import EmbeddingSpace, SpacePair

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here"))]
WORDS = [b" king", b" queen", b" apple", b" pear", b" run", b" walk", b" red", b" blue"]


def space(d, seed, n=4000):
    rng = np.random.default_rng(seed)
    rows = np.random.default_rng(0).normal(size=(n, 20)) @ rng.normal(size=(20, d)) + rng.normal(size=(n, d))
    return EmbeddingSpace(rows.astype("float32"), WORDS + [b"%d" % i for i in range(n - len(WORDS))], f"{d}")


@pytest.fixture(scope="module")
def pair():
    return SpacePair(space(48, 1), space(64, 2))


def numbers(result):
    return {name: v for name, v in vars(result).items() if isinstance(v, (float, int, np.ndarray, tuple)) and name not in ("tokens", "vocabulary")}


def assert_same(call, device):
    ours, theirs = numbers(call(device=None)), numbers(call(device=device))
    for name, value in ours.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            np.testing.assert_array_equal(theirs[name], value, name)
        elif not isinstance(value, (tuple, np.ndarray)) or np.asarray(value).dtype.kind == "f":
            np.testing.assert_allclose(theirs[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [10, 300])
@pytest.mark.parametrize("exact_order", [True, False])
@pytest.mark.parametrize("queries", [None, [5, 3, 3999]])
def test_neighbors(pair, device, metric, k, exact_order, queries):
    ours, theirs = (nearest_neighbors(pair.source.matrix, k, queries, metric=metric, device=d, exact_order=exact_order) for d in (None, device))
    if exact_order:
        np.testing.assert_array_equal(theirs[1], ours[1])
    else:
        np.testing.assert_array_equal(np.sort(theirs[1], 1), np.sort(ours[1], 1))
    np.testing.assert_allclose(theirs[0]**2, ours[0]**2, atol=1e-5 * (1 if metric == "cosine" else (pair.source.matrix**2).sum(1).max()))


@pytest.mark.parametrize("device", DEVICES)
def test_sums(pair, device):
    def sums(device):
        return row_sums(pair.source.matrix, pair.target.matrix, prepare=(unit_rows, unit_rows), device=device)
    for ours, theirs in zip(vars(sums(None)).values(), vars(sums(device)).values()):
        torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("analysis", [global_similarity, neighbor_overlap, lle_similarity], ids=lambda f: f.__name__)
def test_pairs(pair, device, analysis):
    assert_same(lambda device: analysis(pair, device=device), device)


@pytest.mark.parametrize("device", DEVICES)
def test_token_similarity(pair, device):
    ours, theirs = (token_similarity(pair, device=d) for d in (None, device))
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_spaces(pair, device):
    assert_same(lambda device: lle_weights(pair.source, device=device, progress=False), device)
    assert_same(lambda device: semantic_coherence(pair.source, tokens=WORDS, device=device, progress=False), device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("k", [30, 300])  # fewer neighbors than columns, and more
def test_dimension(pair, device, k):
    assert_same(lambda device: intrinsic_dimension(pair.source, k, tokens=range(0, 4000, 40), device=device, progress=False), device)
    assert_same(lambda device: dimension_similarity(pair, k, tokens=range(0, 4000, 80), device=device, progress=False), device)
