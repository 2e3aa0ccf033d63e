"""The law that each initializer states is that of its draws, and so is that of Keras' own."""

import itertools

import keras
import numpy as np
import pytest
from cases import CASES, for_each, label
from modes import often, to_numpy

import keras_initx
from keras_initx.checkpoints._sources import to_lazy
from keras_initx.initializers._as_ours import adapt_initializer
from keras_initx.initializers._laws import FixedLaw, SparseLaw
from keras_initx.tools.audit._initializer_expectations import expect_initializer
from keras_initx.tools.audit._subjects import Subject, Values

# A test fails by chance once in a million times. With these seeds, none does.
ALARM = 1e-6
STATED = [case for case in CASES if case.law]
OF_KERAS = {
    "GlorotNormal": {},
    "GlorotUniform": {},
    "HeNormal": {},
    "HeUniform": {},
    "LecunNormal": {},
    "LecunUniform": {},
    "Orthogonal": {"gain": 1.5},
    "RandomNormal": {"mean": 1.0, "stddev": 0.2},
    "RandomUniform": {"minval": -1.0, "maxval": 3.0},
    "TruncatedNormal": {"mean": 1.0, "stddev": 0.2},
    "VarianceScaling": {"scale": 3.0, "mode": "fan_avg", "distribution": "untruncated_normal"},
}


def alarms(initializer, shape, dtype="float32", factor=1.0):
    """Return what is said against the values of an initializer, times a factor."""
    values = factor * to_numpy(keras.ops.cast(initializer(shape, dtype=dtype), "float32"))
    weight = Subject("a", shape, dtype, Values(to_lazy(values)))
    outcomes = expect_initializer(initializer, weight).test(weight).outcomes
    return [outcome for outcome in outcomes if outcome.p < ALARM and outcome.deviation > 0.01]


def test_a_case_says_whether_its_class_states_a_law():
    wrong = [label(case) for case in CASES if (case.make().law(case.shapes[0]) is not None) is not case.law]
    assert wrong == []


# Those with a law of their own.
DISTINCT = [
    *("ChronoBias", "Concatenated", "DecayRate", "ICNR", "Orthogonal", "PriorBias", "RandomNormal", "RandomUniform"),
    *("Scaled", "Sparse", "Triangular", "TruncatedNormal"),
]


@pytest.mark.parametrize("name", often(sorted({case.cls.__name__ for case in STATED}), DISTINCT))
def test_the_draws_of_an_initializer_have_its_law(name):
    for case in (case for case in STATED if case.cls.__name__ == name):
        initializer = case.make()
        of_16_bits = itertools.product(["bfloat16", "float16"], case.shapes[:1])
        for dtype, shape in [*itertools.product(["float32"], case.shapes), *of_16_bits]:
            assert alarms(initializer, shape, dtype) == [], (label(case), dtype, shape)


# One of each distribution where the backend draws it.


@pytest.mark.release_backends
@pytest.mark.parametrize("name", OF_KERAS)
def test_the_draws_of_keras_have_the_law_of_their_counterpart(name):
    initializer = getattr(keras.initializers, name)(**OF_KERAS[name], seed=5)
    assert alarms(initializer, (3, 3, 40, 60)) == []


@for_each(OF_KERAS)
def test_draws_that_are_scaled_have_another_law(name):
    initializer = getattr(keras.initializers, name)(**OF_KERAS[name], seed=5)
    assert alarms(initializer, (300, 200), factor=1.05)


def test_the_standard_deviation_is_that_of_draws():
    for case in CASES:
        shape = max(case.shapes, key=np.prod)
        expected = case.make().expected_std(shape)
        if expected is None or not case.random:
            continue
        found = np.std(to_numpy(case.make()(shape)))
        assert found == pytest.approx(expected, rel=6 / np.sqrt(np.prod(shape)) + 0.01), case


def test_an_initializer_of_a_user_has_no_law():
    class Own(keras.initializers.RandomNormal):
        def __call__(self, shape, dtype=None):
            return 2 * super().__call__(shape, dtype)

    assert adapt_initializer(Own()).law((4, 4)) is None
    assert keras_initx.Scaled(Own(), 2).law((4, 4)) is None


def test_a_subclass_that_draws_in_another_way_has_no_law():
    class Called(keras_initx.HeNormal):
        def __call__(self, shape, dtype=None, layout=None):
            return 2 * super().__call__(shape, dtype)

    class Drawn(keras_initx.HeNormal):
        def draw(self, stream, shape, dtype):
            return 2 * super().draw(stream, shape, dtype)

    class Renamed(keras_initx.HeNormal):
        pass

    assert adapt_initializer(Called()).law((4, 4)) is None
    assert adapt_initializer(Drawn()).law((4, 4)) is None
    assert adapt_initializer(Renamed()).law((4, 4)).std == keras_initx.HeNormal().expected_std((4, 4))


@for_each(STATED)
def test_the_draws_of_an_initializer_fit_its_law(case):
    for shape in case.shapes:
        law = case.make().law(shape)
        # Of sparse values, too few are not zero to tell their deviation.
        is_told = law.std and not isinstance(law, SparseLaw)
        if 0 not in shape and (is_told or isinstance(law, FixedLaw)):
            assert law.fits(to_numpy(case.make()(shape))), shape


ROWS = np.random.default_rng(0).normal(size=(60, 40)).astype("float32")
FRAME = np.linalg.qr(ROWS)[0]


@pytest.mark.parametrize(
    ("law", "others"),
    [
        (keras_initx.RandomNormal(0.0, 1.0).law((60, 40)), [2 * ROWS, 0 * ROWS, np.nan * ROWS]),
        (keras_initx.Orthogonal().law((60, 40)), [ROWS / 60**0.5, np.linspace(0.5, 1.5, 40) * FRAME, 2 * FRAME]),
        (keras_initx.Orthogonal(blocks=2).law((20, 40)), [FRAME[:20], ROWS[:20] / 20**0.5]),
        (adapt_initializer(keras.initializers.Ones()).law((60, 40)), [1 + 1e-4 * ROWS, 0 * ROWS]),
    ],
    ids=["independent", "frame", "blocks", "fixed"],
)
def test_values_of_another_size_or_form_do_not_fit_a_law(law, others):
    assert [law.fits(values) for values in others] == len(others) * [False]


def test_a_block_of_zeros_has_no_singular_values():
    frames = keras_initx.Orthogonal(blocks=2, singular_values=[3, 2, 1], seed=0)
    values, law = to_numpy(frames((3, 6))), frames.law((3, 6))
    assert law.has_form(values, 1e-3)
    values[:, :3] = 0
    assert not law.has_form(values, 1e-3)
