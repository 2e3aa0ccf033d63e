"""The arrays of the files that tests read."""

import numpy as np

KERNEL = np.arange(12, dtype="float32").reshape(4, 3) / 8
BIAS = np.array([0.5, -0.25, 2.0], "float32")
