"""Whether a branch can start at 0 is measured on what is behind its end, whatever that is called."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import everywhere, needs_keras

from keras_initx import initialize, recipes

WIDTH = 8


class Own(layers.Layer):
    """An operation with a name of its own."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


MASK = np.arange(6)[:, None] > 2
STARTS = {
    "roll": lambda y: ops.roll(y, 1, 1),
    "flip": lambda y: ops.flip(y, 1),
    "swapped twice": lambda y: ops.swapaxes(ops.swapaxes(y, 1, 2), 1, 2),
    "without its mean": lambda y: y - ops.mean(y, -1, keepdims=True),
    "negative": lambda y: -y,
    "masked": lambda y: ops.where(ops.convert_to_tensor(MASK), y, 0.0),
    "halves": lambda y: ops.concatenate(ops.split(y, 2, 1), 1),
    "padded slice": lambda y: ops.pad(y[:, 1:], [[0, 0], [1, 0], [0, 0]]),
    "tanh": ops.tanh,
    "gelu": ops.gelu,
    "layer": layers.Activation("tanh"),
    "leaky": layers.LeakyReLU(),
    "pooled": layers.MaxPooling1D(3, 1, "same"),
    "dropped": layers.Dropout(0.5),
    "glu": lambda y: ops.glu(ops.concatenate([y, y], -1)),
    "own": Own(lambda y: 0.1 * y + ops.sin(y)),
    "twice": lambda y: ops.exp(y) - 1.0,
}
STAYS = {
    "relu": (ops.relu, "Relu"),
    "layer": (layers.ReLU(), "relu"),
    "plus one": (lambda y: y + 1.0, "Add"),
    "square": (lambda y: ops.tanh(ops.square(y)), "Square"),
    "absolute": (ops.absolute, "Absolute"),
    "sigmoid": (ops.sigmoid, "Sigmoid"),
    "hard": (lambda y: ops.hard_shrink(y, 0.5), "HardShrink"),
    "softmax": (layers.Softmax(), "Softmax"),
    "product": (lambda y: y[..., :WIDTH] * ops.flip(y, 1), "Multiply"),
    "none": (lambda y: 0.0 * y, "Multiply"),
}


def model(end, activation=None):
    x = inputs = keras.Input((6, WIDTH))
    for number in range(2):
        hidden = layers.Dense(16, "gelu", name=f"in{number}")(layers.LayerNormalization()(x))
        x = x + end(layers.Dense(WIDTH, activation, name=f"out{number}")(hidden))
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


NEEDS = {"glu": [needs_keras("3.12", "knows the shape that `glu` gives")]}


# Of each kind: an operation that moves values, one of numbers, a layer, and what is followed into `call`.
ON_ALL = ("roll", "masked", "tanh", "pooled", "dropped", "own", "twice")


def marks_of(name):
    backends = pytest.mark.every_backend if name in ON_ALL else pytest.mark.release_backends
    return [backends, *NEEDS.get(name, [])]


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name)) for name in STARTS])
def test_zeros_before_what_keeps_signs_give_zeros_and_get_gradients(name):
    assert recipes.zero_residual(model(STARTS[name])).by_path == {"out0/kernel": "zeros", "out1/kernel": "zeros"}


@pytest.mark.parametrize(
    "name", everywhere(STAYS, ["relu", "layer", "square", "product"], others=[pytest.mark.release_backends])
)
def test_the_first_operation_that_keeps_a_branch_from_0_is_named(name):
    end, kind = STAYS[name]
    with pytest.raises(ValueError, match=f"a branch that ends with {kind} at 'out0': zeros there"):
        recipes.zero_residual(model(end))


def test_the_activation_of_the_last_layer_is_measured_too():
    assert "out0/kernel" in recipes.zero_residual(model(lambda y: y, "tanh")).by_path
    with pytest.raises(ValueError, match="a branch that ends with relu at 'out0'"):
        recipes.zero_residual(model(lambda y: y, "relu"))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_it_is_measured_in_16_bits(policy):
    keras.config.set_dtype_policy(policy)
    try:
        made = model(STARTS["without its mean"])
    finally:
        keras.config.set_dtype_policy("float32")
    assert len(recipes.zero_residual(made).by_path) == 2


def test_measuring_leaves_the_model_as_it_was():
    made = model(lambda y: layers.BatchNormalization(scale=False)(y))
    before = [ops.convert_to_numpy(weight) for weight in made.weights]
    initialize(made, "zero_residual", seed=0, dry_run=True)
    for one, other in zip(before, made.weights, strict=True):
        np.testing.assert_array_equal(one, ops.convert_to_numpy(other))


def test_what_is_behind_a_normalization_counts_from_there():
    def end(y):
        return ops.relu(layers.BatchNormalization()(y))

    with pytest.raises(ValueError, match="a branch that ends with Relu"):
        recipes.zero_residual(model(end))


def test_zeros_must_get_gradients_in_all_of_the_end_of_a_branch():
    def half(y):
        return ops.concatenate([y[..., :4], ops.relu(y[..., 4:])], -1)

    with pytest.raises(ValueError, match="a branch that ends with Relu"):
        recipes.zero_residual(model(half))


def test_zeros_must_give_zeros_in_all_of_the_end_of_a_branch():
    def half(y):
        return ops.concatenate([y[..., :4], ops.reciprocal(y[..., 4:])], -1)

    with pytest.raises(ValueError, match="a branch that ends with Reciprocal"):
        recipes.zero_residual(model(half))


def test_all_experts_of_a_router_must_get_gradients():
    def routed(end):
        x = inputs = keras.Input((6, WIDTH))
        for number in range(2):
            y = layers.LayerNormalization()(x)
            gates = layers.Dense(2, "softmax", name=f"router{number}")(y)
            experts = []
            for expert in range(2):
                hidden = layers.Dense(16, "gelu", name=f"in{number}_{expert}")(y)
                experts.append(layers.Dense(WIDTH, name=f"out{number}_{expert}")(hidden))
            x = x + (gates[..., :1] * experts[0] + gates[..., 1:] * end(experts[1]))
        return keras.Model(inputs, layers.Dense(3, name="head")(x))

    assert len(recipes.zero_residual(routed(ops.tanh)).by_path) == 4
    with pytest.raises(ValueError, match="a branch that ends with Relu"):
        recipes.zero_residual(routed(ops.relu))


def test_of_what_scales_and_shifts_the_end_of_a_branch_only_the_shift_has_to_be_zero():
    x = inputs = keras.Input((6, WIDTH))
    condition = keras.Input((1, 4))
    for number in range(2):
        hidden = layers.Dense(16, "gelu", name=f"in{number}")(layers.LayerNormalization()(x))
        scale, shift = (layers.Dense(WIDTH, name=f"{name}{number}")(condition) for name in ("scale", "shift"))
        x = x + layers.Dense(WIDTH, name=f"out{number}")(hidden) * (1 + scale) + shift
    made = keras.Model([inputs, condition], layers.Dense(3, name="head")(x))
    zeros = [path for path, start in recipes.zero_residual(made).by_path.items() if path.endswith("kernel")]
    assert zeros == ["out0/kernel", "shift0/kernel", "out1/kernel", "shift1/kernel"]
