"""What starts blocks at the identity is measured on what stands behind the last kernel of a branch."""

import ast
import re

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import often, to_numpy

from keras_initx import audit, initialize, recipes

WIDTH = 8


def plain_norm():
    return layers.LayerNormalization(center=False, scale=False)


def joint(name, condition):
    """Return a factor and a shift, each half of the outputs of one kernel."""
    return ops.split(ops.expand_dims(layers.Dense(2 * WIDTH, name=f"{name}_both")(condition), 1), 2, -1)


def apart(name, condition):
    return [ops.expand_dims(layers.Dense(WIDTH, name=f"{name}_{end}")(condition), 1) for end in ("factor", "shift")]


def model(end, given=joint, add=lambda x, y: x + y):
    """Return two blocks whose branches end with a function of their outputs, a factor and a shift."""
    inputs, condition = keras.Input((4, WIDTH)), keras.Input((5,))
    x = inputs
    for number in range(2):
        y = layers.Dense(WIDTH, "tanh", name=f"b{number}_up")(x)
        y = layers.Dense(WIDTH, name=f"b{number}_down")(y)
        x = add(x, end(y, *given(f"b{number}", condition)))
    return keras.Model([inputs, condition], x)


# What starts at 0 in each block.
DOWN, BOTH = "down/kernel", ("both/bias", "both/kernel")
CLOSED = {
    "1 + g": (lambda h, g, b: h * (1 + g), joint, (DOWN,)),
    "exp(g)": (lambda h, g, b: h * ops.exp(g), joint, (DOWN,)),
    "exp(g) + b": (lambda h, g, b: h * ops.exp(g) + b, joint, (*BOTH, DOWN)),
    "1 + g + b": (lambda h, g, b: h * (1 + g) + b, joint, (*BOTH, DOWN)),
    "normalized": (lambda h, g, b: plain_norm()(h) * (1 + g) + b, joint, (*BOTH, DOWN)),
    "with a scale": (lambda h, g, b: layers.LayerNormalization()(h) * (1 + g) + b, joint, (*BOTH, "gamma")),
    "apart": (lambda h, g, b: h * (1 + g) + b, apart, (DOWN, "shift/bias", "shift/kernel")),
    "shift": (lambda h, g, b: h + b, joint, (*BOTH, DOWN)),
    "one that opens": (lambda h, g, b: h * (g - 1) * g, joint, BOTH),
    # As it was.
    "g": (lambda h, g, b: h * g, joint, BOTH),
    "g + b": (lambda h, g, b: h * g + b, joint, BOTH),
    "sigmoid(g)": (lambda h, g, b: h * ops.sigmoid(g), joint, (DOWN,)),
    "nothing": (lambda h, g, b: h, joint, (DOWN,)),
}


def drawn(shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.release_backends
@pytest.mark.parametrize("kind", often(CLOSED, ["1 + g + b", "exp(g)", "apart"]))
def test_blocks_start_as_the_identity_for_any_condition_and_an_audit_agrees(kind):
    end, given, zeros = CLOSED[kind]
    made = model(end, given)
    initialize(made, "zero_residual", seed=0)
    x = drawn((3, 4, WIDTH), 0)
    np.testing.assert_allclose(to_numpy(made([x, drawn((3, 5), 1)])), x, atol=1e-6)
    rules = recipes.zero_residual(made).by_path
    expected = {path for path in rules if any(path.endswith(zero) for zero in zeros)}
    assert len(expected) == 2 * len(zeros)
    assert rules == dict.fromkeys(expected, "zeros")
    assert audit(made, "zero_residual").ok


@pytest.mark.parametrize("kind", often(CLOSED, ["1 + g + b"]))
def test_each_of_the_zeros_gets_a_gradient_in_one_of_two_steps(kind):
    end, given, ends = CLOSED[kind]
    made = model(end, given)
    initialize(made, "zero_residual", seed=0)
    made.compile(keras.optimizers.SGD(0.1), "mse")
    zeros = [weight for weight in made.trainable_weights if weight.path.endswith(ends)]
    assert len(zeros) == 2 * (1 if isinstance(ends, str) else len(ends))
    assert not any(np.any(to_numpy(weight)) for weight in zeros)
    x = [drawn((8, 4, WIDTH), 0), drawn((8, 5), 1)]
    for _ in range(2):
        made.train_on_batch(x, drawn((8, 4, WIDTH), 2))
    assert all(np.any(to_numpy(weight)) for weight in zeros)


# Without parentheses, what a kernel outside of the branch gives is a term of the sum itself.
ONE_SUM = {
    "last": lambda x, terms: x + terms[0] + terms[1],
    "first": lambda x, terms: terms[1] + x + terms[0],
    "between": lambda x, terms: x + terms[1] + terms[0],
    "subtracted": lambda x, terms: x + terms[0] - terms[1],
    "a layer": lambda x, terms: layers.Add()([x, *terms]),
}


@pytest.mark.parametrize("given", [joint, apart])
@pytest.mark.parametrize("order", often(ONE_SUM, ["last", "a layer"]))
def test_a_shift_in_the_sum_itself_is_closed_as_one_in_the_branch(order, given):
    made = model(lambda h, g, b: (h * (1 + g), b), given, ONE_SUM[order])
    in_the_branch = model(lambda h, g, b: h * (1 + g) + b, given)
    assert recipes.zero_residual(made).by_path == recipes.zero_residual(in_the_branch).by_path
    initialize(made, "zero_residual", seed=0)
    x = drawn((3, 4, WIDTH), 0)
    np.testing.assert_allclose(to_numpy(made([x, drawn((3, 5), 1)])), x, atol=1e-6)
    assert audit(made, "zero_residual").ok


def test_a_condition_from_the_inputs_of_the_stream_is_a_shift_too():
    inputs = keras.Input((4, WIDTH))
    stem = x = layers.Dense(WIDTH, name="stem")(inputs)
    for number in range(2):
        y = layers.Dense(WIDTH, name=f"b{number}_down")(layers.Dense(WIDTH, "tanh")(x))
        factor, shift = joint(f"b{number}", ops.mean(inputs, 1))
        x = x + y * (1 + factor) + shift
    made = keras.Model(inputs, [x, stem])
    initialize(made, "zero_residual", seed=0)
    outputs, expected = map(to_numpy, made(drawn((3, 4, WIDTH), 0)))
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    assert audit(made, "zero_residual").ok


def test_a_factor_and_a_shift_from_the_branch_itself_are_closed():
    """Squeeze and excitation with a shift, as in Leela Chess Zero."""
    x = inputs = keras.Input((6, 6, WIDTH))
    for number in range(2):
        y = layers.Conv2D(WIDTH, 3, padding="same", activation="relu", name=f"b{number}_1")(x)
        y = layers.BatchNormalization(name=f"b{number}_n")(layers.Conv2D(WIDTH, 3, padding="same")(y))
        z = layers.Dense(4, "relu")(layers.GlobalAveragePooling2D()(y))
        factor, shift = ops.split(
            layers.Reshape((1, 1, 2 * WIDTH))(layers.Dense(2 * WIDTH, name=f"b{number}_se")(z)), 2, -1
        )
        x = ops.relu(x + ops.sigmoid(factor) * y + shift)
    made = keras.Model(inputs, x)
    zeros = [f"b{number}_{end}" for number in range(2) for end in ("n/gamma", "se/kernel")]
    assert sorted(recipes.zero_residual(made).by_path) == zeros
    initialize(made, "zero_residual", seed=0)
    values = np.abs(drawn((2, 6, 6, WIDTH), 0))
    np.testing.assert_allclose(to_numpy(made(values)), values, atol=1e-6)
    assert audit(made, "zero_residual").ok


def test_a_table_of_positions_in_the_sum_stays_and_a_rectified_shift_is_refused():
    table = layers.Embedding(4, WIDTH, name="positions")
    made = model(lambda h, g, b: (h, table(ops.arange(4))), add=ONE_SUM["last"])
    assert list(recipes.zero_residual(made).by_path) == ["b0_down/kernel", "b1_down/kernel"]
    with pytest.raises(ValueError, match="a branch that ends with Add at 'b0_down': zeros there"):
        recipes.zero_residual(model(lambda h, g, b: (h, ops.relu(b)), add=ONE_SUM["last"]))


NOT_CLOSED = {
    "plus one": (lambda h, g, b: h + ops.exp(g), "Add"),
    "relu": (lambda h, g, b: ops.relu(h * (1 + g)), "Relu"),
}


@pytest.mark.parametrize("kind", NOT_CLOSED)
def test_what_nothing_closes_is_refused_with_the_operation(kind):
    end, operation = NOT_CLOSED[kind]
    with pytest.raises(ValueError, match=f"a branch that ends with {operation} at 'b0_down': zeros there"):
        recipes.zero_residual(model(end))


def test_a_kernel_that_a_stream_begins_with_is_never_zeroed():
    x, other = inputs = [keras.Input((4, WIDTH)) for _ in range(2)]
    stem = layers.Dense(WIDTH, name="stem")(other)
    y = layers.Dense(WIDTH, name="down")(layers.Dense(WIDTH, "tanh")(x))
    z = stem + layers.Dense(WIDTH, name="last")(layers.Dense(WIDTH, "tanh")(stem))
    with pytest.raises(ValueError, match="ends with Add at 'down'"):
        recipes.zero_residual(keras.Model(inputs, [x + (y + stem), z]))


def test_zeros_are_those_of_biases_at_the_start_and_not_of_a_trained_model():
    made = model(lambda h, g, b: layers.LayerNormalization(scale=False)(h))
    expected = recipes.zero_residual(made).by_path
    for weight in made.weights:
        weight.assign(ops.ones_like(weight) * 0.5)
    assert recipes.zero_residual(made).by_path == expected


def fixup_block(x, name, factor=1.0):
    """The basic block of the authors of Fixup: scalar biases, a scale, and no normalization."""
    y = layers.Conv2D(WIDTH, 3, padding="same", use_bias=False, name=f"{name}_1")(Scalar(name=f"{name}_1a")(x))
    y = ops.relu(Scalar(name=f"{name}_1b")(y))
    y = layers.Conv2D(WIDTH, 3, padding="same", use_bias=False, name=f"{name}_2")(Scalar(name=f"{name}_2a")(y))
    return ops.relu(Scalar(name=f"{name}_2b")(Factor(factor, name=f"{name}_s")(y)) + x)


class Scalar(layers.Layer):
    def build(self, shape):
        self.bias = self.add_weight((1,), "zeros", name="bias")

    def call(self, x):
        return x + self.bias


class Factor(layers.Layer):
    def __init__(self, value, **options):
        super().__init__(**options)
        self.value = value

    def build(self, shape):
        self.scale = self.add_weight((1,), keras.initializers.Constant(self.value), name="scale")

    def call(self, x):
        return x * self.scale


def fixup_network(factor=1.0):
    x = inputs = keras.Input((6, 6, WIDTH))
    for number in range(2):
        x = fixup_block(x, f"b{number}", factor)
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.release_backends
def test_fixup_takes_the_block_of_its_authors():
    made = fixup_network()
    rules = recipes.fixup(made).by_path
    assert [rules[f"b{number}_2/kernel"] for number in range(2)] == ["zeros", "zeros"]
    assert rules["b0_1/kernel"].factor == 2**-0.5
    assert rules["b0_2b/bias"] == "zeros"
    assert "b0_s/scale" not in rules
    initialize(made, "fixup", seed=0)
    assert audit(made, "fixup").ok
    x = np.abs(drawn((2, 6, 6, WIDTH), 0))
    blocks = keras.Model(made.inputs, made.layers[-2].input)
    np.testing.assert_allclose(to_numpy(blocks([x])), x, atol=1e-6)


def test_fixup_refuses_a_scale_of_0_behind_which_a_kernel_of_zeros_gets_no_gradient():
    with pytest.raises(ValueError, match="ends with Multiply at 'b0_2': zeros there would get no gradient"):
        recipes.fixup(fixup_network(0.0))


def test_zero_residual_leaves_the_scale_of_a_branch_to_start_at_0_itself():
    with pytest.raises(ValueError, match="a weight that scales a branch: let that one start at 0"):
        recipes.zero_residual(fixup_network())


def modulated_by_stream(end, given):
    """Return a block whose branch ends with a function of `h`, a factor and a shift, all computed from the stream."""
    x = inputs = keras.Input((4, WIDTH))
    h = layers.Dense(WIDTH, name="down")(layers.Dense(WIDTH, "tanh", name="up")(x))
    return keras.Model(inputs, end(x, h, *given(x)))


def split_of_one(x):
    return ops.split(layers.Dense(2 * WIDTH, name="both")(x), 2, -1)


def of_two(x):
    return [layers.Dense(WIDTH, name=name)(x) for name in ("factor", "shift")]


def zeros_in(*names):
    return {f"{name}/kernel": "zeros" for name in names}


# The rules that close the block, of which a user must choose one.
BY_STREAM = {
    "1 + g": (lambda x, h, g, b: x + h * (1 + g), of_two, [zeros_in("down")]),
    "1 + g + b": (lambda x, h, g, b: x + h * (1 + g) + b, of_two, [zeros_in("down", "shift")]),
    "1 + g + b of one kernel": (lambda x, h, g, b: x + h * (1 + g) + b, split_of_one, [zeros_in("both", "down")]),
    "inside": (lambda x, h, g, b: x + (h * ops.exp(g) + b), of_two, [zeros_in("down", "shift")]),
    "g": (lambda x, h, g, b: x + h * g, of_two, [zeros_in("down"), zeros_in("factor")]),
    "g + b of one kernel": (lambda x, h, g, b: x + h * g + b, split_of_one, [zeros_in("both")]),
}


def refusal(model, recipe="zero_residual"):
    with pytest.raises(ValueError, match="side by side") as caught:
        initialize(model, recipe, seed=0)
    return str(caught.value)


@pytest.mark.parametrize("kind", often(BY_STREAM, ["1 + g + b", "g"], every_backend=["g"]))
def test_a_refused_block_comes_with_the_rule_that_starts_it_as_the_identity(kind):
    end, given, expected = BY_STREAM[kind]
    text = refusal(modulated_by_stream(end, given))
    rules = [ast.literal_eval(rule) for rule in re.findall(r"\{.*?\}", text)]
    assert rules == expected
    assert ("exactly one of these rules" in text) == (len(rules) > 1)
    x, y = drawn((8, 4, WIDTH), 0), drawn((8, 4, WIDTH), 2)
    for rule in rules:
        made = modulated_by_stream(end, given)
        initialize(made, rule, seed=0)
        np.testing.assert_allclose(to_numpy(made(x)), x, atol=1e-6)
        kernels = [weight for weight in made.trainable_weights if weight.name == "kernel"]
        made.compile(keras.optimizers.SGD(0.1), "mse")
        for _ in range(2):
            before = [to_numpy(weight).copy() for weight in kernels]
            made.train_on_batch(x, y)
        assert all(np.any(old != to_numpy(weight)) for old, weight in zip(before, kernels, strict=True))


def test_zeros_in_both_factors_would_get_no_gradient():
    made = modulated_by_stream(*BY_STREAM["g"][:2])
    initialize(made, zeros_in("down", "factor"), seed=0)
    made.compile(keras.optimizers.SGD(0.1), "mse")
    for _ in range(2):
        made.train_on_batch(drawn((8, 4, WIDTH), 0), drawn((8, 4, WIDTH), 2))
    assert not any(np.any(to_numpy(made.get_layer(name).kernel)) for name in ("down", "factor"))


def test_fixup_is_refused_with_the_same_rule():
    text = refusal(modulated_by_stream(*BY_STREAM["1 + g + b"][:2]), "fixup")
    assert "which must have at least 2 one after another; to start this block as the identity, write a rule" in text
    assert "{'down/kernel': 'zeros', 'shift/kernel': 'zeros'}" in text


def test_a_bias_that_does_not_start_at_0_is_in_the_rule():
    made = modulated_by_stream(
        lambda x, h, g, b: x + layers.Dense(WIDTH, bias_initializer="ones", name="end")(h) * (1 + g), of_two
    )
    assert "write a rule of your own, {'end/kernel': 'zeros', 'end/bias': 'zeros'}" in refusal(made)


NO_RULE = {
    "relu": lambda x, h, g, b: x + ops.relu(h * (1 + g)),
    "a normalization, whose scale closes": lambda x, h, g, b: x + layers.LayerNormalization()(h) * (1 + g),
    "a normalization of the sum": lambda x, h, g, b: layers.LayerNormalization()(x + h * (1 + g)),
}


@pytest.mark.parametrize("kind", NO_RULE)
def test_a_block_that_no_known_zeros_close_is_refused_without_a_rule(kind):
    text = refusal(modulated_by_stream(NO_RULE[kind], of_two))
    assert "identity" not in text


def test_a_factor_between_0_and_1_needs_no_rule():
    made = modulated_by_stream(lambda x, h, g, b: x + h * ops.sigmoid(g), of_two)
    assert recipes.zero_residual(made).by_path == zeros_in("down")
