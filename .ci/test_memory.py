"""Every geometry analysis on tokens whose table of pairs would not fit: in a process that may take 1.5 GB more, where that table takes 3.6."""
import json
import subprocess
import sys

import pytest

CHILD = r"""
import json, re, resource
from pathlib import Path
import numpy as np
from embgeom.coherence import semantic_coherence
from embgeom.dimension import dimension_similarity, intrinsic_dimension
from embgeom.neighbors import nearest_neighbors
from embgeom.lle import lle_similarity, lle_weights
from embgeom.similarity import (global_similarity, linear_cka, neighbor_overlap, sample_cosines, similarity_matrix, token_similarity)
from embgeom.spaces import EmbeddingSpace, SpacePair

def status(name): return int(re.search(name + r":\s+(\d+)", Path("/proc/self/status").read_text())[1])*1024

def space(n, d, seed):
    words = [b" king", b" queen", b" apple", b" pear"]
    rows = np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32) / np.arange(1, d + 1, dtype=np.float32)
    return EmbeddingSpace(rows, words + [b"%d" % i for i in range(n - len(words))], str(seed))

def analyses(pair, some, k):
    a = pair.source
    return {"global_similarity": lambda: global_similarity(pair), "token_similarity": lambda: token_similarity(pair),
            "similarity_matrix": lambda: similarity_matrix([a, pair.target]), "linear_cka": lambda: linear_cka(pair, debiased=True),
            "neighbor_overlap": lambda: neighbor_overlap(pair), "sample_cosines": lambda: sample_cosines(pair),
            "lle_weights": lambda: lle_weights(a, progress=False), "lle_similarity": lambda: lle_similarity(pair, progress=False),
            "intrinsic_dimension": lambda: intrinsic_dimension(a, k, tokens=some, progress=False),
            "dimension_similarity": lambda: dimension_similarity(pair, k, tokens=some, progress=False),
            "semantic_coherence": lambda: semantic_coherence(a, progress=False),
            "nearest_neighbors": lambda: nearest_neighbors(a.matrix, k, some)}

for call in analyses(SpacePair(space(400, 20, 1), space(400, 20, 2)), range(40), 100).values(): call()  # loads what there is to load
pair = SpacePair(space(30_000, 20, 1), space(30_000, 20, 2))
resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + 1_500_000_000,)*2)
peaks = {}
for name, call in analyses(pair, range(40), 1200).items():
    Path("/proc/self/clear_refs").write_text("5")  # begins the peak anew
    before = status("VmRSS")
    call()
    peaks[name] = status("VmHWM") - before

wide = EmbeddingSpace(np.ones((30_000, 1000), np.float32) + np.eye(30_000, 1000, dtype=np.float32), [b"%d" % i for i in range(30_000)])
resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + 100_000_000,)*2)
refused = {}
for name, call in {"intrinsic_dimension": lambda: intrinsic_dimension(wide, progress=False), "lle_weights": lambda: lle_weights(wide, progress=False)}.items():
    try: call()
    except MemoryError as e: refused[name] = f"{type(e).__name__}: {e}"
print(json.dumps({"peaks": peaks, "refused": refused}))
"""
ANALYSES = ["global_similarity", "token_similarity", "similarity_matrix", "linear_cka", "neighbor_overlap", "sample_cosines", "lle_weights",
            "lle_similarity", "intrinsic_dimension", "dimension_similarity", "semantic_coherence", "nearest_neighbors"]


@pytest.fixture(scope="module")
def said():
    if sys.platform != "linux":
        pytest.skip("the limits and peaks of a process are read as Linux tells them")
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ANALYSES)
def test_no_table_of_all_pairs(said, name):
    assert said["peaks"][name] < 1e9  # the table would take 3.6e9 in single precision


@pytest.mark.parametrize("name", ["intrinsic_dimension", "lle_weights"])
def test_no_memory_is_said_before(said, name):
    assert "MemoryError: A search among 30,000 rows of 1,000 numbers takes" in said["refused"][name]
    assert "Search among fewer rows" in said["refused"][name]
