"""How much nearer draws of one law are if each is standardized by its own moments.

`python tests/support/own_moments.py` prints for each family the distance from the law that one of 100 draws exceeds,
divided by the same distance once each draw has the mean 0 and the variance 1. The test of shapes (`compare_shapes` in
`keras_initx/tools/audit/_distribution.py`) multiplies its distance by less than the least of these ratios.
"""

import sys

import numpy as np
import scipy.stats

VALUES = 640_000  # of all draws of one size
LAWS = {
    "normal": scipy.stats.norm(),
    "uniform": scipy.stats.uniform(-(3**0.5), 2 * 3**0.5),
    "truncated normal": scipy.stats.truncnorm(-2, 2, scale=1 / scipy.stats.truncnorm(-2, 2).std()),
}


def measure_distances(values, law):
    """Return the largest distance of each row from the distribution function of a law."""
    ordered = np.sort(values, axis=1)
    size = values.shape[1]
    expected = law.cdf(ordered)
    above = np.arange(1, size + 1) / size - expected
    below = expected - np.arange(size) / size
    return np.maximum(above.max(axis=1), below.max(axis=1))


def compare_distances(law, size, draws, seed=0):
    """Return the ratio of the distances that one of 100 draws exceeds, known moments over own ones."""
    values = law.rvs((draws, size), random_state=seed)
    means, stds = values.mean(axis=1, keepdims=True), values.std(axis=1, keepdims=True)
    known = np.quantile(measure_distances(values, law), 0.99)
    own = np.quantile(measure_distances((values - means) / stds, law), 0.99)
    return known / own


if __name__ == "__main__":
    for name, law in LAWS.items():
        for size in (32, 256, 2048):
            sys.stdout.write(f"{size} values, {name}: {compare_distances(law, size, VALUES // size):.2f}\n")
