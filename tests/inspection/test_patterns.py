"""The patterns by which rules choose weights."""

import keras
import pytest

import keras_initx
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._patterns import match_pattern
from keras_initx.scaling import RateFactors

layers = keras.layers


def blocks():
    """Return a model with names in which any dialect of patterns would see something special."""
    inner = keras.Sequential([layers.Dense(2, name="fc"), layers.Dense(2, name="fc[1]")], name="block_1")
    first = [layers.Dense(2, name="block_0"), layers.Dense(2, name="block_10")]
    return keras.Sequential([keras.Input((2,)), *first, inner], name="blocks")


# The weights of `blocks` that each pattern matches.
PATTERNS = {
    "block_0/kernel": {"block_0/kernel"},
    "*kernel": {"block_0/kernel", "block_10/kernel", "block_1/fc/kernel", "block_1/fc[1]/kernel"},
    "*/kernel": {"block_0/kernel", "block_10/kernel", "block_1/fc/kernel", "block_1/fc[1]/kernel"},
    "block_*/kernel": {"block_0/kernel", "block_10/kernel", "block_1/fc/kernel", "block_1/fc[1]/kernel"},
    "block_?/kernel": {"block_0/kernel"},
    "block_1?fc/kernel": {"block_1/fc/kernel"},
    "*/fc[1]/kernel": {"block_1/fc[1]/kernel"},
    "*/fc?1]/k*l": {"block_1/fc[1]/kernel"},
    "block_[0-9]/kernel": set(),
    "block_(0|1)/kernel": set(),
    "block.0/kernel": set(),
    "Block_0/kernel": set(),
    "lock_0/kernel": set(),
    "block_0/kern": set(),
}


def by_initialize(model, pattern):
    plan = keras_initx.initialize(model, {pattern: None}, seed=0, dry_run=True)
    return {weight.path for weight in plan.rows if weight.detail == "by rule"}


def by_rate_factors(model, pattern):
    optimizer = RateFactors(keras.optimizers.SGD(1.0), {pattern: 0.5})
    optimizer.build(model.trainable_variables)
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in model.trainable_variables]
    optimizer.apply([keras.ops.ones(variable.shape) for variable in model.trainable_variables])
    found = set()
    for weight, value in zip(Inventory(model).weights, before, strict=True):
        if (value - keras.ops.convert_to_numpy(weight.variable) < 0.75).all():
            found.add(weight.path)
    return found


@pytest.mark.parametrize("match", [by_initialize, by_rate_factors])
def test_a_pattern_matches_the_same_weights_wherever_rules_are_taken(match):
    model = blocks()
    for pattern, expected in PATTERNS.items():
        if expected:
            assert match(model, pattern) == expected, pattern
        else:
            with pytest.raises(ValueError, match="which matches none"):
                match(model, pattern)


@pytest.mark.parametrize(
    ("pattern", "path", "texts"),
    [
        ("block_*/*/kernel", "block_0/mha/query/kernel", ("0", "mha/query")),
        ("*_*", "a_b_c", ("a", "b_c")),
        ("?_*", "a_", ("",)),
        ("exact", "exact", ()),
        ("exact", "exactly", None),
    ],
)
def test_each_star_captures_as_little_as_possible_from_the_left(pattern, path, texts):
    assert match_pattern(pattern, [path]) == ({} if texts is None else {path: texts})
