"""MAUVE of two samples that are given as sentence embeddings.

The settings are those of the paper on latent diffusion for language: n / 10 buckets, k-means (5
restarts of 500 iterations) on the principal components with 90 % of the variance, scaling factor 5,
seed 25. The features are not: there they are GPT-2-large's, here all-MiniLM-L6-v2's. So numbers do
not compare with published ones, only among one another, and only at the same sample count.
"""

import contextlib
import os

SETTINGS = {
    "kmeans_explained_var": 0.9,
    "kmeans_num_redo": 5,
    "kmeans_max_iter": 500,
    "mauve_scaling_factor": 5,
    "seed": 25,
}


def mauve(first, second) -> float:
    """From 0 to 1, where the two look the same; arrays [n, features] with the same n."""
    from mauve import compute_mauve

    if len(first) != len(second):
        raise ValueError(f"samples of {len(first)} and {len(second)} texts")
    if len(first) < 2:
        raise ValueError("a sample needs at least 2 texts")
    with quiet_stderr():
        found = compute_mauve(p_features=first, q_features=second, num_buckets=buckets(len(first)), **SETTINGS)
    return float(found.mauve)


def buckets(count: int) -> int:
    return max(2, round(count / 10))


@contextlib.contextmanager
def quiet_stderr():
    """Without what faiss writes past Python: that it would like 39 points a bucket, where MAUVE has 20."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
