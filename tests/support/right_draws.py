"""Contracts of many weights of one family, each audited with other right draws: how often is there an alarm?

`python tests/support/right_draws.py` prints it of 1,000 contracts of each family.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

import keras_initx
from keras_initx.tools.audit._contract import merge_contracts
from keras_initx.types import Contract

SHAPES = ((64,), (16, 8), (16, 16), (32, 32), (3, 3, 3, 32), (64, 64), (128, 128))
MATRICES = SHAPES[1:]
LARGE = ((64, 64), (128, 128))  # of fewer values, draws with scales of their own are alike now and then
VECTORS = ((8,), (16,))


class Family(NamedTuple):
    """How weights are drawn, of which shapes, and from how many draws contracts of them are made."""

    draw: Callable
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    draws: tuple[int, ...] = (1, 3)


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


def with_a_zero(rng, shape):
    """Draw normal values, the first of which is 0 in 70 % of the draws."""
    values = rng.normal(0, 1, shape)
    values.flat[0] *= rng.random() > 0.7
    return values


def gates(rng, shape):
    """Draw two halves of the units, each with its scale."""
    return rng.normal(0, 1, shape) * np.where(np.arange(shape[-1]) < shape[-1] // 2, 1, 3)


def levels(*values, shares=None):
    return lambda rng, shape: rng.choice(values, shape, p=shares)


def copied(rng, shape):
    """Draw an eighth of the values, each of which is at eight random places."""
    size = math.prod(shape)
    return rng.permutation(np.tile(rng.normal(0, 1, max(size // 8, 1)), 8)[:size]).reshape(shape)


def levels_of_rows(rng, shape):
    """Draw signs, and for each row how large its values are."""
    return rng.choice([-1, 1], shape) * rng.choice([0.1, 0.3], (*shape[:-1], 1))


def on_a_grid(rng, shape):
    return np.round(rng.normal(0, 1, shape) * 30).clip(-127, 127) * 0.0123


SEVERAL = (3,)  # of what differs from draw to draw, one tells nothing
FAMILIES = {
    "uniform": Family(lambda rng, shape: rng.uniform(-1, 1, shape)),
    "normal": Family(lambda rng, shape: rng.normal(0, 1, shape)),
    "truncated": Family(truncated),
    "orthogonal": Family(orthogonal, MATRICES),
    "sparse": Family(sparse),
    "with a floor": Family(lambda rng, shape: np.maximum(rng.normal(0, 1, shape), 0.3)),
    "constant": Family(lambda rng, shape: np.ones(shape)),
    "gates": Family(gates),
    "Laplace": Family(lambda rng, shape: rng.laplace(0, 1, shape)),
    "few, Laplace": Family(lambda rng, shape: rng.laplace(0, 1, shape), VECTORS),
    "few, logarithms of U(0, 16)": Family(lambda rng, shape: np.log(rng.uniform(0, 16, shape)), VECTORS),
    "a value that is often 0": Family(with_a_zero, SHAPES, SEVERAL),
    "another scale in each draw": Family(
        lambda rng, shape: rng.normal(0, math.exp(rng.uniform(-3, 3)), shape), LARGE, SEVERAL
    ),
    "another mean in each draw": Family(lambda rng, shape: rng.normal(rng.uniform(-3, 3), 1, shape), LARGE, SEVERAL),
    "two values": Family(levels(-0.1, 0.1)),
    "two values, exact": Family(levels(-0.5, 0.5)),
    "two values, one rare": Family(levels(0.1, 1.3, shares=(0.8, 0.2))),
    "three values": Family(levels(-0.3, 0, 0.3)),
    "three values, none 0": Family(levels(-0.2, 0.1, 0.7)),
    "few, two values": Family(levels(-0.1, 0.1), VECTORS),
    "values on a grid": Family(on_a_grid),
    "copies": Family(copied),
    "levels of rows": Family(levels_of_rows, ((32, 32), *LARGE), SEVERAL),
}


def alarms(family, draws, weights, contracts, audits=3, pool=200):
    """Return the number of audits with an alarm of each contract.

    The draws of a contract and of its audits are different ones of a pool for each shape.
    """
    rng = np.random.default_rng(0)
    draw, shapes, _ = FAMILIES[family]
    pools = []
    for shape in shapes:
        arrays = {str(number): draw(rng, shape).astype("float32") for number in range(pool)}
        pools.append(keras_initx.contract(arrays).rows)
    counts = []
    for _ in range(contracts):
        drawn = []
        for place in range(weights):
            chosen = rng.choice(pool, draws + audits, replace=False)
            drawn.append([pools[place % len(shapes)][index] for index in chosen])
        names = [f"layer_{place}" for place in range(weights)]
        of_draws = []
        for draw in range(draws):
            named = [
                replace(of_weight[draw], path=name, place=name) for name, of_weight in zip(names, drawn, strict=True)
            ]
            of_draws.append(Contract(named, 1, []))
        expected = merge_contracts(of_draws)
        count = 0
        for audit in range(audits):
            found = [
                replace(of_weight[draws + audit], path=name, place=name)
                for name, of_weight in zip(names, drawn, strict=True)
            ]
            count += not keras_initx.audit(Contract(found, 1, []), like=expected).ok
        counts.append(count)
    return np.array(counts)


if __name__ == "__main__":
    for family in FAMILIES:
        for draws in FAMILIES[family].draws:
            found = alarms(family, draws, 12, 1000)
            sys.stdout.write(f"{family}, {draws} draws: {found.mean() / 3:.2%} alarms, {sum(found == 3)} always\n")
