"""Initializers made of others, ours and foreign."""

import json
import math

import keras
import numpy as np
import pytest
from audited import audit
from cases import for_each
from modes import STREAM_MODES, run, to_numpy

import keras_initx
from keras_initx import (
    ICNR,
    Concatenated,
    HeNormal,
    LSTMForgetBias,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    ReLUBias,
    Scaled,
    Sparse,
)

pytestmark = pytest.mark.usefixtures("optimized")

layers = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Sevenths(keras.initializers.Initializer):
    """A foreign initializer, whose values have no exact form in 16 bits."""

    def __call__(self, shape, dtype=None):
        return keras.ops.cast(keras.ops.reshape(keras.ops.arange(math.prod(shape)), shape), dtype) / 7


class Sevens(HeNormal):
    """Overrides the method that Keras documents."""

    def __call__(self, shape, dtype=None):
        return super().__call__(shape, dtype) * 0 + 7


@pytest.mark.parametrize(
    "initializer", [Scaled(Sevens(), 1), Concatenated([Sevens(), Sevens()]), ICNR(Sevens(), 2)], ids=repr
)
def test_a_subclass_that_overrides_the_call_is_called(initializer):
    np.testing.assert_array_equal(to_numpy(initializer((3, 3, 2, 8))), 7)


FOREIGN = [Sevenths(), keras.initializers.GlorotUniform(seed=3), keras.initializers.Constant(0.3)]
NESTED = [
    Scaled(HeNormal(seed=1), 0.5),
    Scaled("initx.he_normal", 0.5),
    Scaled(Scaled("zeros", 2), 3),
    Concatenated(FOREIGN),
    Concatenated([Concatenated(["zeros", "ones"]), Scaled(Sparse(seed=1), 2), "initx.sparse"]),
]


def test_scaled_multiplies():
    expected = to_numpy(HeNormal(seed=1)((8, 5))) * np.float32(0.3)
    np.testing.assert_array_equal(to_numpy(Scaled(HeNormal(seed=1), 0.3)((8, 5))), expected)


def test_one_of_keras_with_arguments_that_ours_refuses_is_scaled():
    initializer = Scaled(keras.initializers.RandomNormal(stddev=0.0), 0.5)
    assert not np.any(to_numpy(initializer((2, 2))))
    assert initializer.law((2, 2)) is None


def test_scaled_multiplies_before_it_rounds_to_16_bits():
    exact = to_numpy(Sevenths()((8, 5), "float32")) * np.float32(0.3)
    half = to_numpy(Scaled(Sevenths(), 0.3)((8, 5), "bfloat16"))
    np.testing.assert_array_equal(half, exact.astype("bfloat16"))


@pytest.mark.every_backend
@pytest.mark.parametrize("mode", STREAM_MODES)
def test_foreign_initializers_in_every_mode(mode):
    expected = to_numpy(Sevenths()((6, 4)))
    halves = Concatenated([Scaled(Sevenths(), 2), "ones"], sizes=[4, 3])
    values = run(mode, lambda: halves((6, 7)))
    np.testing.assert_allclose(values[:, :4], 2 * expected, rtol=1e-6)
    assert (values[:, 4:] == 1).all()


class Given(keras.initializers.Initializer):
    """A foreign initializer that gives the same value for each weight."""

    def __init__(self, value):
        self.value = value

    def __call__(self, shape, dtype=None):
        return self.value


@pytest.mark.parametrize(
    "values", [np.full((4, 3), 1 + 2j), np.ma.array(np.ones((4, 3)), mask=True)], ids=["complex", "masked"]
)
def test_imaginary_parts_and_masks_are_not_dropped(values):
    with pytest.raises(ValueError, match=r"must return real numbers without a mask\. Received: "):
        Scaled(Given(values), 2)((4, 3))


@pytest.mark.parametrize(
    ("inner", "shape", "message"),
    [
        ("identity", (3,), r"have 2 dimensions\. Received: shape=\(3,\)"),
        (
            keras.initializers.Constant([1, 2, 3]),
            (3, 4),
            r"of shape \(3,\) can be broadcast\. .* shape=\(3, 4\)",
        ),
        # They would be broadcast to another shape.
        (
            keras.initializers.Constant([1, 2, 3]),
            (),
            r"of shape \(3,\) can be broadcast\. Received: shape=\(\)",
        ),
        (
            keras.initializers.Constant([[1, 2, 3]]),
            (3,),
            r"of shape \(1, 3\) can be broadcast\. .* shape=\(3,\)",
        ),
    ],
)
def test_what_one_of_keras_cannot_fill_is_refused_before_another_draws(inner, shape, message):
    generator = keras.random.SeedGenerator(3)
    stacked = Concatenated([RandomNormal(seed=generator), inner], axis=0) if shape else Scaled(inner, 2)
    with pytest.raises(ValueError, match=rf"`shape` must .*{message}"):
        stacked(shape and (2 * shape[0], *shape[1:]))
    assert to_numpy(generator.state.value).tolist() == [3, 0]


def test_a_constant_fills_what_it_is_broadcast_to():
    rows = Scaled(keras.initializers.Constant([1, 2, 3]), 2)
    assert to_numpy(rows((2, 3))).tolist() == [[2, 4, 6]] * 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, 1), TypeError, r"`initializer` must be an initializer, its string id or its config\. Received: init"),
        (("initx.no", 1), ValueError, r"`initializer` must be .*Received: initializer='initx\.no'"),
        (("zeros", "2"), TypeError, r"`factor` must be a finite number\. Received: factor='2'"),
    ],
)
def test_scaled_refuses_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Scaled(*arguments)


def test_concatenated_are_what_their_initializers_give_for_the_slice():
    parts = [Orthogonal(seed=1), HeNormal(seed=2), ReLUBias()]
    fused = to_numpy(Concatenated(parts, sizes=[4, 2, 3])((4, 9)))
    for part, columns in zip(parts, np.split(fused, [4, 6], axis=1), strict=True):
        np.testing.assert_array_equal(columns, to_numpy(part(columns.shape)))


@pytest.mark.parametrize("axis", [1, -2])
def test_concatenated_cut_the_axis_named(axis):
    values = to_numpy(Concatenated(["zeros", "ones"], axis=axis)((3, 4, 5)))
    assert (values[:, :2] == 0).all()
    assert (values[:, 2:] == 1).all()


def test_each_use_of_an_id_is_a_draw_of_its_own():
    first, second = np.split(to_numpy(Concatenated(["initx.he_normal"] * 2)((8, 10))), 2, axis=1)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [HeNormal(seed=1), Orthogonal(seed=1)],
        lambda: [{"class_name": "initx.sparse", "config": {"seed": 1}}] * 2,
        lambda: [keras.initializers.HeNormal(seed=1), HeNormal(seed=1)],
        lambda: [Concatenated(["zeros", HeNormal(seed=1)]), Scaled(HeNormal(seed=1), 0.5)],
    ],
)
def test_concatenated_refuse_slices_that_would_be_alike(make):
    with pytest.raises(
        ValueError, match=r"`initializers` must not have the same seed twice: .*Received: initializers="
    ):
        Concatenated(make())


def test_one_generator_can_fill_several_slices():
    shared = HeNormal(seed=keras.random.SeedGenerator(1))
    first, second = np.split(to_numpy(Concatenated([shared, shared])((8, 10))), 2, axis=1)
    assert not np.array_equal(first, second)


def test_one_object_without_chance_can_fill_several_slices():
    ones = keras.initializers.Ones()
    assert to_numpy(Concatenated([ones, ones])((4,))).tolist() == [1] * 4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"initializers": "zeros"},
            TypeError,
            r"`initializers` must be a list of initializers\. Received: initializers='",
        ),
        ({"initializers": []}, ValueError, r"`initializers` must have at least one .*Received: initializers=\[\]"),
        ({"sizes": 3}, TypeError, r"`sizes` must be `None` or a list of 2 lengths\. Received: sizes=3"),
        ({"sizes": [1, True]}, TypeError, r"`sizes` must be .*Received: sizes=\[1, True\]"),
        ({"sizes": [1]}, ValueError, r"`sizes` must be .*Received: sizes=\[1\]"),
        ({"sizes": [1, -1]}, ValueError, r"`sizes` must be .*Received: sizes=\[1, -1\]"),
        ({"axis": 1.0}, TypeError, r"`axis` must be an integer\. Received: axis=1\.0"),
    ],
)
def test_concatenated_refuse_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Concatenated(**{"initializers": ["zeros", "ones"], **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {},
            r"`shape` must have a length along `axis` that is a multiple of the number .*shape=\(2, 5\), axis=-1",
        ),
        ({"sizes": [2, 2]}, r"`shape` must have .* that is the sum of `sizes`\. Received: .*sizes=\[2, 2\]"),
        (
            {"axis": 2},
            r"`shape` must have every axis in `axis`, without repeats\. Received: shape=\(2, 5\), axis=\[2\]",
        ),
    ],
)
def test_concatenated_refuse_an_axis_that_they_cannot_cut(arguments, message):
    with pytest.raises(ValueError, match=message):
        Concatenated(["zeros", "ones"], **arguments)((2, 5))


@for_each(NESTED)
def test_comes_back_from_json_and_from_its_repr(initializer):
    again = keras.initializers.get(json.loads(json.dumps(keras.initializers.serialize(initializer))))
    assert again.get_config() == initializer.get_config()
    public = {name: getattr(keras_initx, name) for name in keras_initx.__all__}
    assert eval(repr(initializer), public).get_config() == initializer.get_config()
    assert hash(again) == hash(initializer)


@pytest.mark.parametrize("inner", [HeNormal, keras.initializers.HeNormal])
def test_equal_if_the_values_are(inner):
    assert Scaled(inner(seed=1), 2) == Scaled(inner(seed=1), 2)
    assert Scaled(inner(seed=1), 2) != Scaled(inner(seed=2), 2)
    unseeded = inner()
    assert Scaled(unseeded, 2) == Scaled(unseeded, 2)
    assert Scaled(unseeded, 2) != Scaled(inner(), 2)


def test_a_clone_of_an_unseeded_one_draws_anew():
    scaled = Scaled("initx.he_normal", 2)
    assert not np.array_equal(to_numpy(scaled((5, 4))), to_numpy(scaled.clone()((5, 4))))


def test_a_wrapped_forget_bias_takes_the_shape_of_a_whole_bias():
    layer = layers.LSTM(3, bias_initializer=Scaled(LSTMForgetBias(), 2), unit_forget_bias=False)
    layer.build((None, 5, 4))
    assert to_numpy(layer.cell.bias).tolist() == [0] * 3 + [2] * 3 + [0] * 6


def test_a_forget_bias_that_keras_would_overwrite_cannot_be_scaled():
    message = r"`LSTMForgetBias` cannot be inside another .*`unit_forget_bias=False`\. Received: value=1\.0, layer="
    with pytest.raises(ValueError, match=message):
        layers.LSTM(8, bias_initializer=Scaled(LSTMForgetBias(), 2)).build((None, 5, 4))


def test_a_copy_shares_the_generator_of_its_slices():
    generator = keras.random.SeedGenerator(7)
    both = Concatenated([HeNormal(seed=generator), Scaled(HeNormal(seed=generator), 1.0)])
    copy, values = both.clone(), to_numpy(both((4, 8)))
    np.testing.assert_array_equal(to_numpy(copy((4, 8))), values)
    assert not np.array_equal(*np.split(values, 2, axis=1))


@pytest.mark.parametrize("other", [7, keras.random.SeedGenerator(7)])
def test_concatenated_refuse_generators_that_would_be_alike(other):
    with pytest.raises(ValueError, match=r"`initializers` must not have the same seed twice"):
        Concatenated([HeNormal(seed=keras.random.SeedGenerator(7)), HeNormal(seed=other)])


@pytest.mark.parametrize("factor", [-2.0, 2.0])
def test_a_law_with_bounds_is_turned_around_by_a_negative_factor(factor):
    initializer = Scaled(RandomUniform(0.0, 1.0), factor)
    values = to_numpy(Scaled(RandomUniform(0.0, 1.0, seed=1), factor)((64, 64)))
    assert audit({"a": values}, {"a": initializer}).ok
    assert not audit({"a": -values}, {"a": initializer}).ok
