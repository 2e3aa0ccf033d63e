"""Contracts of one weight of few values: is its scale compared, and what does an audit say of another scale?

`python tests/support/few_values.py` prints the table beside `_ALIKE` in `keras_initx/tools/audit/_draws.py`, of
1,000 contracts of three draws for each law and size:

    varies       contracts that take the scale of a law for one that is drawn anew
    not known    contracts with too few values to tell
    blamed       audits of another draw of the law that find a problem
    2, 10 times  audits of another draw that is 2 or 10 times as large that find one
    blamed anew  audits that find a problem if each draw has a scale of its own, from exp(-3) to exp(3)
"""

import sys
from collections.abc import Callable

import numpy as np

import keras_initx
from keras_initx.tools.audit._contract import merge_contracts
from keras_initx.types import Contract

LAWS: dict[str, Callable] = {
    "uniform": lambda rng, size: rng.uniform(-0.1, 0.1, size),
    "normal": lambda rng, size: rng.normal(0, 0.1, size),
    "constant plus noise": lambda rng, size: 1 + rng.normal(0, 0.1, size),
}
SIZES = (16, 64, 256)
DRAWS = 3


def count_told(law, size, contracts, seed=0):
    """Return the six counts of the table."""
    rng = np.random.default_rng(seed)
    counts = np.zeros(6, int)
    for _ in range(contracts):
        draws = [LAWS[law](rng, size) for _ in range(DRAWS + 1)]
        expected = _contract_of(draws[:DRAWS])
        varies = expected.rows[0].profile.varies
        scales = np.exp(rng.uniform(-3, 3, DRAWS + 1))
        anew = [scale * values for scale, values in zip(scales, draws, strict=True)]
        counts += (
            varies is True,
            varies is None,
            _is_told(draws[DRAWS], expected),
            _is_told(2 * draws[DRAWS], expected),
            _is_told(10 * draws[DRAWS], expected),
            _is_told(anew[DRAWS], _contract_of(anew[:DRAWS])),
        )
    return counts.tolist()


def _contract_of(draws):
    return merge_contracts([keras_initx.contract({"a": values.astype("float32")}) for values in draws])


def _is_told(values, expected: Contract):
    return not keras_initx.audit({"a": values.astype("float32")}, like=expected).ok


if __name__ == "__main__":
    contracts = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for law in LAWS:
        for size in SIZES:
            names = ("varies", "not known", "blamed", "2 times", "10 times", "blamed anew")
            cells = [f"{name} {number}" for name, number in zip(names, count_told(law, size, contracts), strict=True)]
            sys.stdout.write(f"{size} values, {law}: {', '.join(cells)} of {contracts}\n")
            sys.stdout.flush()
