"""Contracts of many weights of one family, each audited with other right draws: how often is there an alarm?

`python tests/support/right_draws.py` prints it of 1,000 contracts of each family.
"""

import math
import sys
from dataclasses import replace

import numpy as np

import keras_initx
from keras_initx.audits import Contract
from keras_initx.audits._profile import merged

SHAPES = ((64,), (16, 8), (16, 16), (32, 32), (3, 3, 3, 32), (64, 64), (128, 128))


def truncated(rng, shape):
    """Draw as Keras does on PyTorch: the first of four that is within the bounds, else one beyond them."""
    candidates = rng.normal(0, 1, (*shape, 4))
    chosen = (np.abs(candidates) < 2).argmax(axis=-1)
    return np.take_along_axis(candidates, chosen[..., None], axis=-1)[..., 0]


def orthogonal(rng, shape):
    inputs = math.prod(shape[:-1])
    frame = np.linalg.qr(rng.normal(0, 1, (max(inputs, shape[-1]), min(inputs, shape[-1]))))[0]
    return (frame if inputs >= shape[-1] else frame.T).reshape(shape)


def sparse(rng, shape):
    """Draw an eighth of the inputs of each unit."""
    values = rng.normal(0, 1, (math.prod(shape[:-1]), shape[-1]))
    places = np.argsort(rng.random(values.shape), axis=0)
    return np.where(places < max(1, len(values) // 8), values, 0).reshape(shape)


FAMILIES = {
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "normal": lambda rng, shape: rng.normal(0, 1, shape),
    "truncated": truncated,
    "orthogonal": orthogonal,
    "sparse": sparse,
    "with a floor": lambda rng, shape: np.maximum(rng.normal(0, 1, shape), 0.3),
    "constant": lambda rng, shape: np.ones(shape),
}


def alarms(family, draws, weights, contracts, audits=3, pool=200):
    """Return the number of audits with an alarm of each contract.

    The draws of a contract and of its audits are different ones of a pool for each shape.
    """
    rng = np.random.default_rng(0)
    shapes = [shape for shape in SHAPES if len(shape) > 1 or family != "orthogonal"]
    pools = []
    for shape in shapes:
        arrays = {str(number): FAMILIES[family](rng, shape).astype("float32") for number in range(pool)}
        pools.append(keras_initx.contract(arrays).weights)
    counts = []
    for number in range(contracts):
        drawn = []
        for place in range(weights):
            chosen = rng.choice(pool, draws + audits, replace=False)
            drawn.append([pools[place % len(shapes)][index] for index in chosen])
        # Of one name in several layers, which are judged together, or not.
        names = [f"layer_{place}" if number % 2 else "a" * (place + 1) for place in range(weights)]
        expected = []
        for name, of_weight in zip(names, drawn, strict=True):
            profile = merged([weight.profile for weight in of_weight[:draws]])
            expected.append(replace(of_weight[0], path=name, profile=profile))
        count = 0
        for audit in range(audits):
            found = [replace(of_weight[draws + audit], path=name) for name, of_weight in zip(names, drawn, strict=True)]
            count += not keras_initx.audit(Contract(found, 1, []), like=Contract(expected, draws, [])).ok
        counts.append(count)
    return np.array(counts)


if __name__ == "__main__":
    for family in FAMILIES:
        for draws in (1, 3):
            found = alarms(family, draws, 12, 1000)
            sys.stdout.write(f"{family}, {draws} draws: {found.mean() / 3:.2%} alarms, {sum(found == 3)} always\n")
