"""An initializer is bound to one weight: its seed, its axes, and what a plan calls it."""

import keras
import numpy as np
import pytest
from drawn import build, row
from modes import to_numpy
from stacks import arrays

import keras_initx
from keras_initx import initialize, weight_seed

layers = keras.layers


# With axes that are given, a plan shows the fans that are used.
@pytest.mark.parametrize(
    ("initializer", "fan_in"),
    [
        (keras_initx.Concatenated(["he_normal", keras_initx.HeNormal()], sizes=[16, 16], axis=-2), 128),
        (keras.initializers.VarianceScaling(8.0), 128),
        (keras_initx.VarianceScaling(8.0, input_axes=[0, 1, 3]), 512),
        (keras_initx.Scaled(keras_initx.HeNormal(), 2.0), 128),
        (keras_initx.Scaled(keras_initx.HeNormal(input_axes=[0, 1, 3]), 2.0), 512),
    ],
    ids=["concatenated", "of Keras", "with axes", "scaled", "scaled, with axes"],
)
def test_strides_are_not_counted_twice_where_an_initializer_has_axes_or_a_scale(initializer, fan_in):
    for in_layer, rules in (initializer, None), ("zeros", {"*kernel": initializer}):
        layer = layers.Conv2DTranspose(32, 4, 2, kernel_initializer=in_layer)
        model = keras.Sequential([keras.Input((8, 8, 32)), layer])
        (weight, _) = initialize(model, rules, seed=0).rows
        assert weight.fan_in == fan_in
        assert weight.std == pytest.approx((2 / 128) ** 0.5, rel=0.03)


@pytest.mark.parametrize(
    ("initializer", "fans", "fan_out"),
    [
        (keras_initx.Scaled("initx.glorot_normal", 1.0), (72, 72), 72),
        (keras_initx.VarianceScaling(mode="fan_out"), (72,), 72),
        (keras_initx.VarianceScaling(mode="fan_out", output_axes=[0, 1, 3]), (576,), 576),
    ],
    ids=str,
)
def test_a_grouped_convolution_is_drawn_for_the_units_of_one_group(initializer, fans, fan_out):
    model = keras.Sequential([keras.Input((8, 8, 64)), layers.Conv2D(64, 3, groups=8, kernel_initializer=initializer)])
    (weight, _) = initialize(model, seed=0).rows
    assert (weight.fan_in, weight.fan_out) == (72, fan_out)
    assert weight.expected_std == pytest.approx(np.mean(fans) ** -0.5)
    assert weight.std == pytest.approx(weight.expected_std, rel=0.05)


def test_parts_of_an_initializer_have_seeds_of_their_own():
    parts = keras_initx.Concatenated(["initx.random_normal", "initx.random_normal"], sizes=[3, 3])
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6, kernel_initializer=parts)])
    assert initialize(model, seed=0).rows[0].seed == weight_seed("dense/kernel", 0)
    assert not np.array_equal(*np.split(arrays(model)["dense/kernel"], 2, axis=1))


SCALED_ARRAY = "Scaled(initializer=Constant(value=<array of shape (4, 3)>), factor=1.5)"


@pytest.mark.parametrize(
    ("initializer", "text"),
    [
        (keras_initx.Scaled(keras.initializers.Constant(np.full((4, 3), 0.5)), 1.5), SCALED_ARRAY),
        (keras.initializers.Constant(np.float32(0.1)), "Constant(value=0.1)"),
        (keras.initializers.Identity(2.0), "Identity(gain=2)"),
        (keras_initx.RandomNormal(stddev=0.123456), "RandomNormal(stddev=0.1235)"),
        (keras_initx.Scaled(keras_initx.HeNormal(input_axes=[0]), 2.0), "Scaled(initializer=HeNormal(), factor=2)"),
        (
            keras_initx.Concatenated(["zeros", "initx.he_normal"], sizes=[1, 2]),
            "Concatenated(initializers=[Zeros(), HeNormal()], sizes=[1, 2])",
        ),
        (lambda shape, dtype: keras.ops.ones(shape, dtype), "<lambda>"),
    ],
)
def test_the_plan_shows_an_initializer_as_it_is_written(initializer, text):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, kernel_initializer=initializer)])
    assert initialize(model, seed=0, dry_run=True).rows[0].initializer == text


def test_a_part_has_another_seed_than_the_whole():
    scaled = keras_initx.Scaled("initx.random_normal", 2.0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, kernel_initializer=scaled)])
    plan = initialize(model, seed=0)
    whole = keras_initx.RandomNormal(seed=plan.rows[0].seed)((4, 3))
    assert not np.isclose(arrays(model)["dense/kernel"], 2 * to_numpy(whole)).any()


def test_a_depthwise_kernel_has_no_matrix_of_its_axes():
    model = build()
    plan = initialize(model, {"depthwise/kernel": "initx.orthogonal"}, seed=0)
    seed = row(plan, "depthwise/kernel").seed
    expected = to_numpy(keras_initx.Orthogonal(seed=seed)((3, 3, 4, 1)))
    np.testing.assert_array_equal(arrays(model)["depthwise/kernel"], expected)


CELLS = {
    "LSTM": (lambda bias: layers.LSTM(6, bias_initializer=bias, unit_forget_bias=False), "lstm"),
    "GRU": (lambda bias: layers.GRU(6, bias_initializer=bias, reset_after=False), "gru"),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_chrono_bias_is_that_of_its_cell(name):
    make, cell = CELLS[name]
    model = keras.Sequential([keras.Input((9, 1)), make(keras_initx.ChronoBias(784))])
    plan = keras_initx.initialize(model, seed=0)
    drawn = {row.path: row.seed for row in plan.rows if row.path.endswith("bias")}
    assert drawn
    biases = arrays(model)
    for path, seed in drawn.items():
        expected = keras_initx.ChronoBias(784, cell=cell, seed=seed)(biases[path].shape)
        np.testing.assert_array_equal(biases[path], to_numpy(expected))


@pytest.mark.parametrize(
    "initializer",
    [
        "initx.delta_orthogonal",
        "initx.icnr",
        keras_initx.Scaled("initx.dirac", 0.5),
        keras_initx.ChronoBias(100, cell="gru"),
    ],
    ids=str,
)
def test_places_in_the_order_of_keras_are_refused_for_torch(initializer):
    import torch

    module = torch.nn.Conv2d(12, 12, 12)
    model = keras.Sequential([layers.TorchModuleWrapper(module)])
    model.build((1, 12, 12, 12))
    before = to_numpy(module.weight).copy()
    is_bias = "Bias" in str(initializer)
    with pytest.raises(ValueError, match="whose axes or gates are in the order of torch"):
        initialize(model, {lambda weight: (len(weight.shape) == 1) == is_bias: initializer}, seed=0)
    np.testing.assert_array_equal(to_numpy(module.weight), before)
