"""What is known of initializers of this package, of Keras and of users, asked in one way."""

import keras
import numpy as np
import pytest
from modes import to_numpy

import keras_initx
from keras_initx.initializers._as_ours import adapt_initializer
from keras_initx.initializers._laws import FixedLaw, TruncatedLaw, UniformLaw

of_keras = keras.initializers
ARRAY = np.array([[1.0, -7.0, np.inf]], "float32")


class Own(keras.initializers.Initializer):
    """Has no arguments, and numbers of its own."""

    def __call__(self, shape, dtype=None):
        return np.full(shape, 3.0)


class Partial(keras.initializers.RandomNormal):
    """Lacks an argument in its config."""

    def __init__(self, first, **options):
        super().__init__(**options)


@pytest.mark.parametrize(
    ("initializer", "largest", "law"),
    [
        (keras_initx.RandomUniform(-2, 1), 2, UniformLaw),
        (of_keras.RandomUniform(-2, 1, seed=0), 2, UniformLaw),
        (of_keras.TruncatedNormal(stddev=1.0, seed=0), 2, TruncatedLaw),
        (of_keras.Constant(-3.0), 3, FixedLaw),
        (of_keras.Constant(ARRAY), 7, FixedLaw),
        (of_keras.Zeros(), 0, FixedLaw),
        (of_keras.Ones(), 0, FixedLaw),
        (Own(), 0, None),
        (Partial(1), 0, None),
        (of_keras.RandomNormal(stddev=0.0), 0, None),  # which the counterpart refuses
    ],
)
def test_the_largest_value_and_the_law(initializer, largest, law):
    adapted = adapt_initializer(initializer)
    assert adapted.largest((1, 3)) == pytest.approx(largest, rel=0.01, abs=0)
    found = adapted.law((1, 3))
    assert found is None if law is None else isinstance(found, law)


@pytest.mark.parametrize(
    ("initializer", "shape", "message"),
    [
        (of_keras.Identity(), (3,), r"`shape` must have 2 dimensions"),
        (of_keras.Constant(ARRAY), (3, 1), r"a shape to which the constant of shape \(1, 3\) can be broadcast"),
        (of_keras.Constant(ARRAY), (3,), r"a shape to which the constant of shape \(1, 3\) can be broadcast"),
        (keras_initx.Dirac(), (3,), "`shape` must have 3 to 5 dimensions"),
    ],
)
def test_a_shape_that_cannot_be_filled_is_refused(initializer, shape, message):
    with pytest.raises(ValueError, match=message):
        adapt_initializer(initializer).check_shape(shape)


@pytest.mark.parametrize(
    ("initializer", "shape"),
    [(of_keras.Identity(), (2, 3)), (of_keras.Constant(ARRAY), (5, 3)), (of_keras.Zeros(), (3,)), (Own(), (3,))],
)
def test_other_shapes_are_not(initializer, shape):
    adapt_initializer(initializer).check_shape(shape)


@pytest.mark.parametrize("initializer", [of_keras.RandomNormal(stddev=np.inf), of_keras.RandomUniform(np.nan, 1)])
def test_a_number_of_keras_that_is_not_finite_is_refused(initializer):
    with pytest.raises(ValueError, match=r"`(stddev|minval)` must be a finite number. Received"):
        adapt_initializer(initializer).check_numbers()
    adapt_initializer(of_keras.Constant(np.nan)).check_numbers()
    adapt_initializer(Own()).check_numbers()


@pytest.mark.parametrize("initializer", [of_keras.Zeros(), of_keras.Constant(2.5), keras_initx.RandomNormal(seed=1)])
def test_some_values_are_those_of_all(initializer):
    places = np.array([5, 0, 3])
    whole = to_numpy(initializer((2, 3)))
    np.testing.assert_array_equal(
        adapt_initializer(initializer).values_at((2, 3), "float32", places), whole.ravel()[places]
    )


@pytest.mark.parametrize(
    "initializer",
    [of_keras.Constant(ARRAY), of_keras.Identity(), Own(), keras_initx.Orthogonal(seed=0), lambda s, dtype: 0],
)
def test_what_is_only_made_together_has_no_single_values(initializer):
    assert adapt_initializer(initializer).values_at((3, 3), "float32", np.array([0])) is None


def test_arguments_are_those_of_the_counterpart():
    adapted = adapt_initializer(of_keras.TruncatedNormal(stddev=1.0, seed=4))
    assert adapted.counterpart is keras_initx.TruncatedNormal
    assert adapted.arguments()["stddev"] == pytest.approx(0.8796, rel=1e-3)
    assert adapt_initializer(Partial(1)).arguments() is None
    assert adapt_initializer(Own()).arguments() == {}
    assert adapt_initializer(keras_initx.Scaled("zeros", 2)).arguments().keys() == {"initializer", "factor"}
    assert adapt_initializer(keras_initx.HeNormal()).counterpart is None
