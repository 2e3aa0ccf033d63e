"""Seeds that are derived from one root: each place in a set of initializers has a draw of its own."""

import random

import keras
import numpy as np
import pytest
from modes import to_numpy

import keras_initx
from keras_initx import Concatenated, HeNormal, Scaled
from keras_initx.initializers._seeds import derived_seed, root_seed, seed_initializer

SHAPE = (4, 6)


@keras.saving.register_keras_serializable(package="tests")
class Sum(keras.initializers.Initializer):
    """Add the values of two other initializers."""

    def __init__(self, first, second):
        self.first = keras.initializers.get(first)
        self.second = keras.initializers.get(second)

    def __call__(self, shape, dtype=None):
        return self.first(shape, dtype) + self.second(shape, dtype)

    def get_config(self):
        parts = {"first": self.first, "second": self.second}
        return {name: keras.initializers.serialize(part) for name, part in parts.items()}


def test_derived_seeds_stay_what_they_are():
    found = [derived_seed(0), derived_seed(0, "repeat", 2), derived_seed(0, "repeat", 3), derived_seed(2**32 - 1, "a")]
    assert found == [804681139, 469073291, 1316997415, 778575438]
    assert derived_seed(1, "a", "b") != derived_seed(1, "b", "a")


def test_a_root_that_is_drawn_has_32_bits():
    roots = []
    for start in range(8):
        random.seed(start)
        roots.append(root_seed(None))
    assert roots == [random.Random(start).getrandbits(32) for start in range(8)]
    assert max(roots) >= 1 << 31
    with pytest.raises(ValueError, match=r"`seed` must be an integer in \[0, 2\*\*32\)\. Received: seed=4294967296"):
        root_seed(1 << 32)


@pytest.mark.parametrize(
    "wrap", [lambda *each: {"a": each[0], "b": each[1]}, lambda *each: [*each], lambda *each: each]
)
def test_each_initializer_of_a_container_has_a_draw_of_its_own(wrap):
    same = HeNormal()
    container = wrap(same, same)
    found = seed_initializer(container, 3)
    assert type(found) is type(container)
    first, second = found.values() if isinstance(found, dict) else found
    assert not np.array_equal(to_numpy(first(SHAPE)), to_numpy(second(SHAPE)))
    assert same.get_config()["seed"] is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sum(HeNormal(), HeNormal()),
        lambda: Concatenated([HeNormal(), HeNormal()]),
        lambda: Scaled(Concatenated([Scaled("initx.he_normal", 2), "initx.he_normal"]), 0.5),
    ],
    ids=["two arguments", "a list", "nested"],
)
def test_each_part_of_an_initializer_has_a_draw_of_its_own(make):
    result = seed_initializer(make(), 0)
    generators = list(generators_within(result))
    assert len({generator.get_config()["seed"] for generator in generators}) == len(generators) == 2
    before = [to_numpy(generator.state.value).tolist() for generator in generators]
    first, second = to_numpy(result(SHAPE)), to_numpy(result(SHAPE))
    # Layers of one shape get different values.
    assert not np.isin(first[first != 0], second).any()
    assert [to_numpy(generator.state.value).tolist() for generator in generators] == [[s, c + 2] for s, c in before]


def generators_within(initializer):
    for value in vars(initializer).values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, keras.initializers.Initializer):
                own = getattr(item, "seed", None)
                if isinstance(own, keras.random.SeedGenerator):
                    yield own
                yield from generators_within(item)


def test_what_takes_no_seed_is_returned_as_it_is():
    ones, function = keras.initializers.Ones(), lambda shape, dtype=None: keras.ops.ones(shape, dtype)
    assert seed_initializer(ones, 0) is ones
    assert seed_initializer(function, 0) is function
    assert seed_initializer([ones, function], 0) == [ones, function]


@pytest.mark.parametrize("nested", [lambda inner: inner, lambda inner: [inner], lambda inner: Scaled(inner, 2)])
def test_a_seed_that_is_given_is_refused_wherever_it_is(nested):
    message = r"`initializers` must not have seeds, .* Received: .*HeNormal\(seed=0.* with seed=0"
    with pytest.raises(ValueError, match=message):
        seed_initializer(nested(HeNormal(seed=0)), 1)


class Kept(keras.initializers.RandomNormal):
    """An initializer that does not tell its argument, which it keeps under a name of its own."""

    def __init__(self, factor=1.0, seed=None):
        super().__init__(seed=seed)
        self._factor = factor

    def get_config(self):
        return {"seed": None}


def test_an_argument_that_a_config_lacks_is_missed_under_a_private_name_too():
    with pytest.raises(ValueError, match=r"`initializers` must have all .* Received: .*Kept.* without factor"):
        seed_initializer(Kept(2.0), 0)
    assert isinstance(seed_initializer(Kept(1.0), 0), Kept)  # the default


def test_the_seed_of_initialize_may_be_any_root():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer="initx.he_normal")])
    random.seed(5)
    plan = keras_initx.initialize(model)
    assert f"seed {random.Random(5).getrandbits(32)}." in str(plan)


class OfObjects(Sum):
    """A sum whose config holds its parts as objects."""

    def get_config(self):
        return {"first": self.first, "second": self.second}


def test_parts_that_a_config_holds_as_objects_have_draws_of_their_own():
    given = OfObjects(keras.initializers.HeNormal(), HeNormal())
    one, again, other = [seed_initializer(given, seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(to_numpy(one(SHAPE)), to_numpy(again(SHAPE)))
    assert not np.array_equal(to_numpy(other(SHAPE)), to_numpy(again(SHAPE)))
    assert not np.array_equal(to_numpy(one.first(SHAPE)), to_numpy(one.second(SHAPE)))
