"""The quantile table for normal draws, the same to the last bit on every machine."""

import functools
import math

import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.sampling._log import portable_log

# Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied
# Statistics 37 (1988), PPND16: numerators and denominators, highest power first.
_CENTER = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
     1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
     5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0),
)  # fmt: skip
_TAIL = (
    (7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e0,
     3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0, 1.0),
)  # fmt: skip

SIZE = 1 << 16


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    numerator, denominator = coefficients
    return np.polyval(numerator, x) / np.polyval(denominator, x)


def _upper_quantiles() -> Array:
    """Return the quantiles of N(0, 1) at the midpoints of the upper half of `SIZE` equal intervals."""
    q = (np.arange(SIZE // 2) + 0.5) / SIZE  # probability above one half
    tail = q > 0.425  # end of the central approximation of AS 241
    quantiles = np.empty_like(q)
    quantiles[~tail] = q[~tail] * _ratio(_CENTER, 0.180625 - q[~tail] ** 2)
    # Its third branch, for probabilities below 1.4e-11, is beyond a table of this size.
    quantiles[tail] = _ratio(_TAIL, np.sqrt(-portable_log(0.5 - q[tail])) - 1.6)
    return quantiles


@functools.cache
def normal_table(dtype: DType) -> Array:
    """Return `SIZE` values with mean 0 and variance one half, close to normal quantiles.

    The sum of two independently chosen entries is close to N(0, 1): mean and variance are exact,
    and the excess kurtosis is -4e-4.

    Reference:
        Thomas, "The table-Hadamard Gaussian random number generator", IEEE TVLSI 2015.
    """
    upper = _upper_quantiles()
    variance = math.fsum(upper**2) / upper.size
    upper = upper / math.sqrt(2 * variance)
    table = np.concatenate([-upper[::-1], upper]).astype(dtype)
    table.flags.writeable = False
    return table
