"""Tests of mauve_score.py: `python -m unittest discover tools`, from the repository's root."""

import math
import unittest

from mauve_score import SETTINGS, buckets, mauve

try:
    import numpy as np
    import mauve as _package  # noqa: F401
except ModuleNotFoundError as error:
    raise unittest.SkipTest(f"{error.name} is not installed (tools/requirements.txt)") from None


def two_points(first: int, of: int):
    """`of` vectors, `first` of them at one point and the rest at another."""
    return np.repeat(np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32), [first, of - first], axis=0)


def from_definition(p: list[float], q: list[float]) -> float:
    """The area under the divergence curve, written down from the paper on MAUVE."""
    curve = [(1.0, 0.0)]
    for weight in np.linspace(1e-6, 1 - 1e-6, 25):
        r = [weight * a + (1 - weight) * b for a, b in zip(p, q)]
        divergence = lambda one: sum(a * math.log(a / c) for a, c in zip(one, r) if a)
        curve.append(tuple(math.exp(-SETTINGS["mauve_scaling_factor"] * divergence(one)) for one in (q, p)))
    curve.append((0.0, 1.0))
    curve.sort()
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(curve, curve[1:]))


class Mauve(unittest.TestCase):
    def test_equal_samples_score_one(self):
        sample = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
        self.assertAlmostEqual(mauve(sample, sample.copy()), 1)

    def test_samples_apart_score_next_to_nothing(self):
        self.assertLess(mauve(two_points(20, 20), two_points(0, 20)), 0.01)

    def test_histograms_that_are_known(self):
        # All vectors lie at two points, so that the two buckets hold exactly these shares.
        for first, second in ((5, 10), (10, 12), (2, 18)):
            p, q = [first / 20, 1 - first / 20], [second / 20, 1 - second / 20]
            found = mauve(two_points(first, 20), two_points(second, 20))
            self.assertAlmostEqual(found, from_definition(p, q), places=3)

    def test_buckets(self):
        self.assertEqual([buckets(count) for count in (2, 20, 454, 1000)], [2, 2, 45, 100])

    def test_samples_of_other_sizes_are_refused(self):
        with self.assertRaisesRegex(ValueError, "samples of 20 and 10 texts"):
            mauve(two_points(5, 20), two_points(5, 10))


if __name__ == "__main__":
    unittest.main()
