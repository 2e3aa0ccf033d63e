"""A whole model is drawn anew: by rules, from one seed, all or nothing."""

import json
import random
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from modes import BACKEND, needs_axes, to_numpy

import keras_initx
from keras_initx import initialize, seeds
from keras_initx.models import WeightPlan, weights_digest
from keras_initx.structure import find_weights

layers = keras.layers


def build(initializer="glorot_uniform"):
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, activation="relu", name="conv", kernel_initializer=initializer),
            layers.BatchNormalization(name="norm"),
            layers.DepthwiseConv2D(3, name="depthwise", depthwise_initializer="he_normal"),
            layers.Flatten(),
            layers.Dense(8, "relu", name="hidden"),
            layers.Dropout(0.5, seed=3),
            layers.Dense(2, name="logits", kernel_initializer=keras.initializers.RandomNormal(seed=1)),
        ]
    )


def arrays(model):
    return {weight.path: to_numpy(weight.variable.value).copy() for weight in find_weights(model)}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for path, value in one.items():
        np.testing.assert_array_equal(value, other[path], err_msg=path)


def row(plan, path):
    return next(weight for weight in plan.weights if weight.path == path)


def trained(model):
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.random.default_rng(0).normal(size=(16, 8, 8, 3)), np.arange(16) % 2, epochs=2, verbose=0)
    return model


@pytest.mark.every_backend
def test_the_weights_of_a_seed_are_the_same_on_every_backend():
    model = build()
    initialize(model, seed=1)
    assert weights_digest(model) != "0f29ddc6c712612de68eed46323c9307"
    initialize(model, seed=7)
    assert weights_digest(model) == "0f29ddc6c712612de68eed46323c9307"


def test_there_is_no_digest_before_there_are_all_weights():
    with pytest.raises(ValueError, match="`model` must be built"):
        weights_digest(keras.Sequential([layers.Dense(2)]))


def test_without_a_seed_one_is_drawn_and_told():
    keras.utils.set_random_seed(5)
    model = build()
    first, second = initialize(model), initialize(model)
    assert first.seed != second.seed
    expected = arrays(model)
    initialize(model, seed=second.seed)
    assert_equal(arrays(model), expected)


def test_a_model_written_with_the_seeds_has_the_same_weights():
    seed = seeds(7)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, name="hidden", kernel_initializer=keras_initx.HeNormal(seed=seed("hidden/kernel"))),
            layers.Dense(2, name="logits", kernel_initializer=keras_initx.Orthogonal(seed=seed("logits/kernel"))),
        ]
    )
    before = arrays(model)
    initialize(model, seed=7)
    assert_equal(arrays(model), before)


def test_the_initializer_of_the_layer_is_used_again():
    model = build(keras_initx.Sparse(3))
    plan = initialize(model, seed=0)
    values = arrays(model)
    found = {weight.path: weight.initializer for weight in plan.weights}
    assert found["conv/kernel"] == "Sparse(connections=3)"
    assert found["depthwise/kernel"] == "HeNormal()"
    assert found["logits/kernel"] == "RandomNormal()"
    assert found["norm/moving_variance"] == "Ones()"
    assert all(weight.std == pytest.approx(values[weight.path].std(), abs=1e-6) for weight in plan.weights)
    seeds = {weight.path: weight.seed for weight in plan.weights}
    depthwise = {"input_axes": [0, 1], "output_axes": [0, 1, 3]}
    expected = {
        "conv/kernel": keras_initx.Sparse(3, seed=seeds["conv/kernel"]),
        "depthwise/kernel": keras_initx.HeNormal(seed=seeds["depthwise/kernel"], **depthwise),
        "hidden/kernel": keras_initx.GlorotUniform(seed=seeds["hidden/kernel"]),
        "logits/kernel": keras_initx.RandomNormal(seed=seeds["logits/kernel"]),
    }
    for path, initializer in expected.items():
        np.testing.assert_array_equal(values[path], to_numpy(initializer(values[path].shape)), err_msg=path)


@pytest.mark.parametrize(
    ("layer", "shape", "name", "fans"),
    [
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 4), "kernel", (9, 18)),
        # A batch of kernels, one for each expert.
        (layers.EinsumDense("bsed,edf->bsef", (None, 32, 8)), (5, 32, 16), "kernel", (16, 256)),
        (layers.Embedding(50, 4), (5,), "embeddings", (50, 4)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_inputs_and_outputs_are_counted_as_the_layer_does(layer, shape, name, fans):
    model = keras.Sequential([keras.Input(shape), layer])
    plan = initialize(model, {f"*/{name}": "he_normal"}, seed=0)
    (weight,) = (weight for weight in plan.weights if weight.path.endswith(name))
    assert (weight.fan_in, weight.fan_out) == fans
    assert weight.expected_std == pytest.approx((2 / fans[0]) ** 0.5)
    # The draws of `he_normal`, which differ by their scale only.
    expected = keras_initx.TruncatedNormal(stddev=(2 / fans[0]) ** 0.5, seed=weight.seed)(weight.shape)
    np.testing.assert_array_equal(arrays(model)[weight.path], to_numpy(expected))


def mean_inputs(sums, strides):
    """Return the mean of the sums of ones in a period of the strides, away from the borders, without those of none."""
    period = tuple(
        slice(length // 2, length // 2 + stride) for length, stride in zip(sums.shape, strides, strict=False)
    )
    return float(sums[period][sums[period] > 0].mean())


class Up(layers.Conv2DTranspose):
    """A transposed convolution of a user."""


ONES = {"kernel_initializer": "ones", "use_bias": False}


# Older versions of Keras warn of borders, with torch.
@pytest.mark.filterwarnings("ignore:You might experience inconsistencies across backends")
@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv1DTranspose(6, 3, 2, dtype="mixed_bfloat16", **ONES),
        Up(6, (2, 5), (3, 2), **ONES),
        layers.Conv2DTranspose(6, 3, 2, output_padding=1, padding="same", **ONES),
        layers.Conv2DTranspose(6, 3, dilation_rate=2, **ONES),
    ],
    ids=lambda layer: f"{layer.kernel_size}, {layer.strides}",
)
def test_a_transposed_convolution_has_the_inputs_that_an_output_sums(layer):
    shape = (*(9 for _ in layer.kernel_size), 4)
    model = keras.Sequential([keras.Input(shape), layer])
    ones, one = np.ones((1, *shape)), np.zeros((1, *shape))
    one[(0, *(4 for _ in layer.kernel_size), 0)] = 1
    inputs = mean_inputs(to_numpy(model(ones)).astype("float32")[0], layer.strides)
    units = to_numpy(model(one)).astype("float32").sum()
    (weight,) = initialize(model, {"*": "initx.he_normal"}, seed=0).weights
    assert (weight.fan_in, weight.fan_out) == (inputs, units)
    expected = keras_initx.TruncatedNormal(stddev=(2 / inputs) ** 0.5, seed=weight.seed)(weight.shape)
    np.testing.assert_array_equal(arrays(model)[weight.path], to_numpy(expected))


@pytest.mark.parametrize(
    "initializer",
    [
        keras_initx.Concatenated(["he_normal", keras_initx.HeNormal()], sizes=[16, 16], axis=-2),
        keras.initializers.VarianceScaling(8.0),
        keras_initx.VarianceScaling(8.0, input_axes=[0, 1, 3]),
        keras_initx.Scaled(keras_initx.HeNormal(input_axes=[0, 1, 3]), 2.0),
    ],
    ids=lambda initializer: type(initializer).__name__,
)
def test_strides_are_not_counted_twice_where_an_initializer_has_axes_or_a_scale(initializer):
    for in_layer, rules in (initializer, None), ("zeros", {"*kernel": initializer}):
        layer = layers.Conv2DTranspose(32, 4, 2, kernel_initializer=in_layer)
        model = keras.Sequential([keras.Input((8, 8, 32)), layer])
        (weight, _) = initialize(model, rules, seed=0).weights
        assert weight.fan_in == 128
        assert weight.std == pytest.approx((2 / 128) ** 0.5, rel=0.03)


@pytest.mark.parametrize(
    ("initializer", "fans"),
    [
        (keras_initx.Scaled("initx.glorot_normal", 1.0), (72, 72)),
        (keras_initx.VarianceScaling(mode="fan_out"), (72,)),
        (keras_initx.VarianceScaling(mode="fan_out", output_axes=[0, 1, 3]), (576,)),
    ],
    ids=str,
)
def test_a_grouped_convolution_is_drawn_for_the_units_of_one_group(initializer, fans):
    model = keras.Sequential([keras.Input((8, 8, 64)), layers.Conv2D(64, 3, groups=8, kernel_initializer=initializer)])
    (weight, _) = initialize(model, seed=0).weights
    assert (weight.fan_in, weight.fan_out) == (72, 72)
    assert weight.expected_std == pytest.approx(np.mean(fans) ** -0.5)
    assert weight.std == pytest.approx(weight.expected_std, rel=0.05)


@needs_axes
def test_attention_is_orthogonal_over_its_inputs():
    inputs = keras.Input((5, 16))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs))
    initialize(model, {"attention/*/kernel": "initx.orthogonal"}, seed=0)
    query = arrays(model)["attention/query/kernel"].reshape(16, 8)
    np.testing.assert_allclose(query.T @ query, np.eye(8), atol=1e-5)


def test_an_lstm_keeps_its_forget_bias():
    model = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3, name="lstm")])
    before = arrays(model)
    initialize(model, seed=0)
    np.testing.assert_array_equal(arrays(model)["lstm/lstm_cell/bias"], before["lstm/lstm_cell/bias"])


class Hidden(layers.Layer):
    """Keeps no initializer."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.table = self.add_weight((shape[-1], 2), keras.initializers.RandomNormal(stddev=3.0), name="table")
        self.free = keras.Variable(keras.ops.ones((2,)), name="free")

    def call(self, x):
        return keras.ops.matmul(x * self.scale, self.table) + self.free


class Around(layers.Layer):
    """Cannot make its layer again from its config, but itself."""

    def __init__(self, width):
        super().__init__()
        self.width, self.inner = width, Needy(object())

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x)

    def get_config(self):
        return {"width": self.width}


class Needy(Hidden):
    def __init__(self, value):
        super().__init__()


def test_what_a_layer_hands_to_add_weight_is_found():
    model = keras.Sequential([keras.Input((50,)), Hidden(name="hidden"), Around(2)])
    state, names = random.getstate(), [weight.path for weight in find_weights(model)]
    plan = initialize(model, seed=0, dry_run=True)
    assert random.getstate() == state
    found = {weight.path: weight.initializer for weight in plan.weights}
    assert list(found) == names
    assert found["hidden/scale"] == found["around/needy/scale"] == "Ones()"
    assert found["hidden/table"] == found["around/needy/table"] == "RandomNormal(stddev=3)"
    assert [(weight.path, weight.reason) for weight in plan.left] == [
        ("hidden/free", "initializer unknown"),
        ("around/needy/free", "initializer unknown"),
    ]


class Sines(layers.Layer):
    """Assigns one weight when it is built, and has a setting with the name of an initializer."""

    kernel_initializer = "a word of its own"

    def build(self, shape):
        self.kernel = self.add_weight(shape=shape[1:], initializer="ones", name="kernel")
        self.table = self.add_weight(shape=shape[1:], initializer="zeros", trainable=False, name="table")
        self.table.assign(np.sin(np.arange(shape[1])))

    def call(self, inputs):
        return inputs * self.kernel + self.table


@pytest.mark.every_backend
def test_what_a_layer_assigns_itself_is_left():
    model = keras.Sequential([keras.Input((8,)), Sines(name="sines")])
    for variable in model.weights:
        variable.assign(variable.value + 1)
    assert [row.reason for row in initialize(model, seed=0).weights] == ["", "initializer unknown"]
    kernel, table = map(to_numpy, model.weights)
    np.testing.assert_array_equal(kernel, np.ones(8))
    np.testing.assert_allclose(table, np.sin(np.arange(8)) + 1, atol=1e-6)


class Block(layers.Layer):
    """Gets one layer, and makes another one of the same class."""

    def __init__(self, given, **options):
        super().__init__(**options)
        self.given = keras.saving.deserialize_keras_object(given) if isinstance(given, dict) else given
        self.made = Hidden()

    def build(self, shape):
        self.scale = self.add_weight(shape=(2,), initializer="he_normal", name="scale")
        if not self.given.built:
            self.given.build(shape)
        self.made.build((None, 2))

    def call(self, x):
        return self.made(self.given(x)) * self.scale

    def get_config(self):
        return {**super().get_config(), "given": keras.saving.serialize_keras_object(self.given)}


def test_looking_for_initializers_in_a_copy_uses_up_no_names():
    with keras.saving.custom_object_scope({"Hidden": Hidden, "Block": Block}):
        model = keras.Sequential([keras.Input((4,)), Block(Hidden()), layers.Dense(2)])
        before = Hidden().name, layers.Dense(2).name
        plan = initialize(model, seed=0, dry_run=True)
        after = Hidden().name, layers.Dense(2).name
    for one, other in zip(before, after, strict=True):
        assert int(other.rpartition("_")[2]) == int(one.rpartition("_")[2]) + 1
    assert plan.weights[0].initializer == "HeNormal()"


class Starting(Hidden):
    """Initializes a model of its own while it is built."""

    def build(self, shape):
        inner = keras.Sequential([keras.Input((50,)), Hidden()])
        assert initialize(inner, seed=0, dry_run=True).weights[0].initializer == "Ones()"
        super().build(shape)


def test_a_layer_may_initialize_a_model_while_it_is_built():
    model = keras.Sequential([keras.Input((50,)), Starting()])
    assert initialize(model, seed=0).weights[0].initializer == "Ones()"


def test_keras_takes_the_deviation_before_truncation():
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    model = keras.Sequential([keras.Input((200,)), layers.Dense(100, kernel_initializer=initializer)])
    assert initialize(model, seed=0).weights[0].std == pytest.approx(0.0176, rel=0.02)


def test_parts_of_an_initializer_have_seeds_of_their_own():
    parts = keras_initx.Concatenated(["initx.random_normal", "initx.random_normal"], sizes=[3, 3])
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6, kernel_initializer=parts)])
    assert initialize(model, seed=0).weights[0].seed == seeds(0)("dense/kernel")
    assert not np.array_equal(*np.split(arrays(model)["dense/kernel"], 2, axis=1))


def test_a_layer_type_matches_the_layers_inside_it():
    inputs = keras.Input((5, 8))
    x = layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    plan = initialize(model, {layers.MultiHeadAttention: "zeros"}, seed=0)
    kernels = {weight.path: weight.initializer for weight in plan.weights if weight.path.endswith("kernel")}
    assert kernels.pop("logits/kernel") == "GlorotUniform()"
    assert len(kernels) == 4
    assert set(kernels.values()) == {"Zeros()"}


@pytest.mark.every_backend
def test_a_normalization_computes_with_what_a_rule_gives_it():
    norm = layers.Normalization(name="normalization")
    norm.adapt(np.arange(12.0).reshape(4, 3))
    model = keras.Sequential([keras.Input((3,)), norm, layers.Dense(2)])
    initialize(model, {"*/mean": "zeros", "*/variance": "ones"}, seed=0)
    x = np.float32([[1, 2, 3]])
    np.testing.assert_array_equal(to_numpy(norm(x)), x)


def test_a_normalization_computes_as_before_after_an_error():
    class Failing(keras.metrics.Mean):
        def reset_state(self):
            raise RuntimeError("not now")

    norm = layers.Normalization(name="normalization")
    norm.adapt(np.arange(12.0).reshape(4, 3))
    model = keras.Sequential([keras.Input((3,)), norm, layers.Dense(2)])
    model.failing = Failing()
    x = np.float32([[1, 2, 3]])
    before = to_numpy(norm(x))
    with pytest.raises(RuntimeError, match="not now"):
        initialize(model, {"*/mean": "zeros", "*/variance": "ones"}, seed=0)
    np.testing.assert_array_equal(to_numpy(norm(x)), before)


def test_the_first_rule_that_matches_decides():
    model = build()
    rules = {
        "conv/*": None,
        layers.Dense: "initx.orthogonal",
        lambda weight: weight.name == "bias": keras.initializers.Constant(0.5),
        "*/gamma": {"class_name": "Constant", "config": {"value": 2.0}},
        "*": "ones",
    }
    before = arrays(model)
    plan = initialize(model, rules, seed=0)
    after = arrays(model)
    assert_equal({"": before["conv/kernel"]}, {"": after["conv/kernel"]})
    assert row(plan, "conv/bias").reason == "by rule"
    assert row(plan, "hidden/kernel").initializer == "Orthogonal()"
    assert (after["hidden/bias"] == 0.5).all()
    assert (after["norm/gamma"] == 2).all()
    assert (after["norm/beta"] == 1).all()


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        ({"hiden/kernel": "zeros"}, ValueError, r"Received: 'hiden/kernel', which matches none.*'hidden/kernel'"),
        ({"xyz": "zeros"}, ValueError, r"which matches none; existing paths are 'conv/kernel', 'conv/bias'"),
        ({"Conv2D": "zeros"}, ValueError, r"Received: 'Conv2D', .*; did you mean the class Conv2D itself\?"),
        ({layers.LSTM: "zeros"}, ValueError, r"Each of `rules` must match a weight"),
        ({"*": keras_initx.HeNormal(seed=1)}, ValueError, r"`rules` must have initializers without seeds"),
        ({"*": "nothing"}, ValueError, r"must be an initializer"),
        ({int: "zeros"}, TypeError, r"`rules` must have patterns, layer types or functions as keys"),
        (["zeros"], TypeError, r"`rules` must be a dict"),
        ({"*/bias": "initx.orthogonal"}, ValueError, r"`rules` must suit the weights.*'conv/bias'.*at least 2 dim"),
        ({"*/bias": lambda shape, dtype: keras.ops.ones((3,))}, TypeError, r"must be an initializer"),
        (
            {"logits/bias": keras_initx.Scaled("identity", 2.0)},
            ValueError,
            r"must suit the weights.*'logits/bias'.*must have 2 dimensions",
        ),
        (
            {"logits/bias": keras.initializers.Constant(np.ones(3))},
            ValueError,
            r"must suit the weights.*'logits/bias'.*of shape \(3,\) fills. Received: shape=\(2,\)",
        ),
        (
            {"logits/bias": keras.initializers.Constant(np.ones((2, 2)))},
            ValueError,
            r"must suit the weights.*'logits/bias'.*of shape \(2, 2\) fills. Received: shape=\(2,\)",
        ),
    ],
)
def test_wrong_rules_change_nothing(rules, error, message):
    model = build()
    before = arrays(model)
    with pytest.raises(error, match=message):
        initialize(model, rules, seed=0, atomic=False)  # nothing is undone
    assert_equal(arrays(model), before)


@pytest.mark.parametrize("value", [[0.5, 0.5], np.array([0.5])], ids=["list", "array"])
def test_a_constant_may_be_anything_that_fills_the_weight(value):
    model = build()
    initialize(model, {"logits/bias": keras.initializers.Constant(value)}, seed=0)
    assert arrays(model)["logits/bias"].tolist() == [0.5, 0.5]


class Counting(layers.Layer):
    """Keeps a number of calls as a weight."""

    def build(self, shape):
        self.count = self.add_weight((), dtype="int32", initializer="zeros", trainable=False, name="count")

    def call(self, x):
        return x


def test_random_numbers_for_a_weight_of_integers_change_nothing():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="first"), Counting(name="counting")])
    before = arrays(model)
    message = r"`rules` must suit the weights. Received: RandomNormal\(.*\) for 'counting/count' of dtype int32"
    with pytest.raises(ValueError, match=message):
        initialize(model, {"*": "random_normal"}, seed=0, atomic=False)
    assert_equal(arrays(model), before)


def test_a_dry_run_changes_nothing():
    model = trained(build())
    before, steps = arrays(model), int(model.optimizer.iterations)
    plan = initialize(model, seed=0, dry_run=True)
    assert_equal(arrays(model), before)
    assert int(model.optimizer.iterations) == steps
    assert plan.dry_run
    assert all(weight.std is None for weight in plan.weights)
    assert row(plan, "hidden/kernel").expected_std > 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": keras.layers.Dense(2)}, TypeError, "`model` must be a Keras model"),
        ({"model": keras.Sequential([keras.layers.Dense(2)])}, ValueError, "`model` must be built"),
        ({"seed": -1}, ValueError, r"`seed` must be an integer in \[0, 2\*\*32\). Received: seed=-1"),
        ({"seed": 1.5}, TypeError, "`seed` must be an integer"),
        ({"dry_run": "yes"}, TypeError, "`dry_run` must be True or False"),
        ({"reset": 0}, TypeError, "`reset` must be True or False"),
        ({"atomic": None}, TypeError, "`atomic` must be True or False"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    model = arguments.pop("model", None) or build()
    with pytest.raises(error, match=message):
        initialize(model, **arguments)


def test_equal_seeds_of_two_weights_are_refused():
    names = ("layer_18915x", "layer_50028x")  # found by search: with the root 0 their kernels get the same seed
    model = keras.Sequential([keras.Input((4,)), *(layers.Dense(4, name=name) for name in names)])
    message = (
        "`seed` must give 'layer_18915x/kernel' and 'layer_50028x/kernel' different seeds: use another `seed`. "
        "Received: the seed 14170331 for both"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        initialize(model, seed=0)
    assert len(initialize(model, seed=1).weights) == 4


def test_a_trained_model_is_as_new():
    model = trained(build())
    model.optimizer.learning_rate = 0.02
    fresh = build()
    initialize(fresh, seed=0)
    initialize(model, seed=0)
    assert weights_digest(model) == weights_digest(fresh)
    assert int(model.optimizer.iterations) == 0
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
    slots = [to_numpy(variable.value) for variable in model.optimizer.variables[2:]]
    assert slots
    assert not any(slot.any() for slot in slots)
    dropout = next(layer for layer in model.layers if isinstance(layer, layers.Dropout))
    assert to_numpy(dropout.seed_generator.state.value).tolist() == [3, 0]


def test_training_state_can_be_kept():
    model = trained(build())
    initialize(model, seed=0, reset=False)
    assert int(model.optimizer.iterations) == 2


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="traces are counted on JAX")
def test_training_goes_on_without_another_trace():
    traces = []

    class Counted(layers.Layer):
        def call(self, x):
            traces.append(None)
            return x

    model = keras.Sequential([keras.Input((4,)), Counted(), layers.Dense(2)])
    model.compile("adam", "mse")
    x, y = np.ones((8, 4)), np.ones((8, 2))
    model.fit(x, y, verbose=0)
    model.predict(x, verbose=0)
    before = len(traces)
    initialize(model, seed=0)
    model.fit(x, y, verbose=0)
    model.predict(x, verbose=0)
    assert len(traces) == before


def test_the_plan_has_each_weight_as_it_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="hidden"), Counting(name="counting")])
    rules = {"hidden/kernel": "he_normal", "hidden/bias": None}
    seed = seeds(0)("hidden/kernel")
    expected = [
        WeightPlan(
            "hidden/kernel",
            shape=(4, 3),
            dtype="float32",
            initializer="HeNormal()",
            fan_in=4,
            fan_out=3,
            expected_std=pytest.approx(0.5**0.5),
            seed=seed,
        ),
        WeightPlan("hidden/bias", shape=(3,), dtype="float32", initializer=None, reason="by rule"),
        WeightPlan("counting/count", shape=(), dtype="int32", initializer=None, reason="int32"),
    ]
    plan = initialize(model, rules, seed=0, dry_run=True)
    assert plan.weights == expected
    assert (plan.seed, plan.dry_run, plan.left) == (0, True, plan.weights[1:])
    lines = [" ".join(line.split()) for line in str(plan).splitlines()]
    assert lines[0] == "weight shape initializer fan in fan out expected seed"
    assert lines[2:] == [
        f"hidden/kernel (4, 3) HeNormal() 4 3 0.71 {seed}",
        "",
        "1 of 3 weights to be drawn, 2 left unchanged; seed 0.",
        "Left unchanged: hidden/bias (by rule), counting/count (int32).",
    ]
    plan = initialize(model, rules, seed=0)
    assert not plan.dry_run
    assert repr(plan) == "<InitializationPlan: 1 of 3 weights drawn, 2 left unchanged; seed 0>"
    std = pytest.approx(arrays(model)["hidden/kernel"].std(), rel=1e-5)
    expected[0] = replace(expected[0], std=std)
    assert plan.weights == expected


def blocks(*widths):
    """Return a network of blocks whose names differ in numbers, before a last layer."""
    stack = [
        keras.Sequential([layers.Dense(width, name="up"), layers.Dense(8)], name=f"block_{i}")
        for i, width in enumerate(widths)
    ]
    return keras.Sequential([keras.Input((8,)), *stack, layers.Dense(2, name="logits")])


def test_the_table_of_a_plan_has_a_row_for_weights_that_are_drawn_alike(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    plan = initialize(blocks(8, 8, 32), {"block_0/up/kernel": "zeros", "*/bias": None}, seed=0, dry_run=True)
    header, _, *rows = [" ".join(line.split()) for line in str(plan).splitlines()]
    assert header == "weight shape initializer fan in fan out expected seed"
    seeds_of = {weight.path: weight.seed for weight in plan.weights}
    assert rows == [
        "block_0/up/kernel (8, 8) Zeros() 8 8",
        "block*/dense/kernel (3) GlorotUniform() 8...32 8 0.22...0.35",
        "block*/up/kernel (2) GlorotUniform() 8 8...32 0.22...0.35",
        f"logits/kernel (8, 2) GlorotUniform() 8 2 0.45 {seeds_of['logits/kernel']}",
        "",
        "7 of 14 weights to be drawn, 7 left unchanged; seed 0.",
        "Left unchanged: block_0/up/bias and 6 more (by rule).",
    ]
    assert len(plan.to_csv().splitlines()) == 15
    assert len(json.loads(plan.to_json())["weights"]) == 14


class Adapted(Counting):
    """Learns from data what it has, without being a layer of Keras that does."""

    def build(self, shape):
        self.size = self.add_weight(shape=(), initializer="ones", name="size")

    def adapt(self, data):
        pass


def test_what_a_users_layer_learns_from_data_is_left():
    model = keras.Sequential([keras.Input((3,)), Adapted(name="adapted"), layers.Dense(2)])
    assert row(initialize(model, seed=0), "adapted/size").reason == "adapted to data"


def test_a_rule_may_set_a_weight_of_integers():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2), Counting(name="counting")])
    model.layers[-1].count.assign(5)
    initialize(model, {"counting/count": "zeros"}, seed=0)
    assert arrays(model)["counting/count"] == 0


SCALED_ARRAY = "Scaled(initializer=Constant(value=<array of shape (4, 3)>), factor=1.5)"


@pytest.mark.parametrize(
    ("initializer", "text"),
    [
        (keras_initx.Scaled(keras.initializers.Constant(np.full((4, 3), 0.5)), 1.5), SCALED_ARRAY),
        (keras.initializers.Constant(np.float32(0.1)), "Constant(value=0.1)"),
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
    assert initialize(model, seed=0, dry_run=True).weights[0].initializer == text


def test_a_part_has_another_seed_than_the_whole():
    scaled = keras_initx.Scaled("initx.random_normal", 2.0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, kernel_initializer=scaled)])
    plan = initialize(model, seed=0)
    whole = keras_initx.RandomNormal(seed=plan.weights[0].seed)((4, 3))
    assert not np.isclose(arrays(model)["dense/kernel"], 2 * to_numpy(whole)).any()


def test_a_depthwise_kernel_has_no_matrix_of_its_axes():
    model = build()
    plan = initialize(model, {"depthwise/kernel": "initx.orthogonal"}, seed=0)
    seed = row(plan, "depthwise/kernel").seed
    expected = to_numpy(keras_initx.Orthogonal(seed=seed)((3, 3, 4, 1)))
    np.testing.assert_array_equal(arrays(model)["depthwise/kernel"], expected)


def test_layers_may_share_a_pattern_of_zeros():
    sparse = keras_initx.Sparse(2, seed=1)
    options = {"kernel_initializer": sparse, "kernel_constraint": keras_initx.KeepSparse(sparse)}
    model = keras.Sequential([keras.Input((6,)), *(layers.Dense(6, **options) for _ in range(2))])
    before = arrays(model)
    plan = initialize(model, seed=0)
    assert [weight.seed for weight in plan.weights] == [1, None, 1, None]
    assert_equal(arrays(model), before)


def small():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, name="hidden")])


def on_the_meta_device():
    with keras.device("meta"):
        return small()


def with_other_parameters():
    model = small()
    parameters = model.layers[0].torch_params
    for name, parameter in list(parameters.items()):
        parameters[name] = parameter.detach().clone()
    return model


def with_distributed_tensors():
    model = small()
    model.layers[0].kernel.value.placements = ()  # as a `DTensor` has, which needs a process group
    return model


UNUSED = {
    "on the meta device": on_the_meta_device,
    "no parameter of its layer any more: torch has replaced it": with_other_parameters,
    "a `DTensor` of torch": with_distributed_tensors,
}


@pytest.mark.parametrize("reason", UNUSED)
def test_a_model_that_does_not_use_its_variables_is_refused(reason):
    model = UNUSED[reason]()
    with pytest.raises(ValueError, match=rf"`model` must use its weights\. .*'hidden/kernel' is {reason}"):
        initialize(model, seed=0)


CELLS = {
    "LSTM": (lambda bias: layers.LSTM(6, bias_initializer=bias, unit_forget_bias=False), "lstm"),
    "GRU": (lambda bias: layers.GRU(6, bias_initializer=bias, reset_after=False), "gru"),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_chrono_bias_is_that_of_its_cell(name):
    make, cell = CELLS[name]
    model = keras.Sequential([keras.Input((9, 1)), make(keras_initx.ChronoBias(784))])
    plan = keras_initx.initialize(model, seed=0)
    drawn = {row.path: row.seed for row in plan.weights if row.path.endswith("bias")}
    assert drawn
    biases = arrays(model)
    for path, seed in drawn.items():
        expected = keras_initx.ChronoBias(784, cell=cell, seed=seed)(biases[path].shape)
        np.testing.assert_array_equal(biases[path], to_numpy(expected))


def test_a_model_that_is_built_in_part_is_refused():
    import torch

    wrapped = layers.TorchModuleWrapper(torch.nn.Linear(8, 16))
    model = keras.Sequential([keras.Input((8,)), wrapped, layers.Dense(2)])
    with pytest.raises(ValueError, match=r"`model` must be built: .* without all weights"):
        keras_initx.initialize(model, seed=0)
    model(np.ones((1, 8), "float32"))
    plan = keras_initx.initialize(model, {"*": "initx.he_normal"}, seed=0)
    assert [row.fan_in for row in plan.weights if len(row.shape) > 1] == [8, 16]


@pytest.mark.parametrize(
    "initializer", [keras_initx.RandomNormal(stddev=1e5), keras_initx.Sparse(stddev=1e-9)], ids=["infinite", "zero"]
)
def test_a_dtype_that_cannot_hold_the_values_is_refused_before_anything_changes(initializer):
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="wide"), layers.Dense(3, dtype="float16", name="narrow")]
    )
    before = arrays(model)
    with pytest.raises(ValueError, match=r"`rules` must suit .* for 'narrow/kernel': `dtype` must hold .*'float16'"):
        keras_initx.initialize(model, {"*kernel": initializer}, seed=0, atomic=False)
    assert_equal(arrays(model), before)


CONVOLUTIONS_OF_TORCH = {
    "in groups": lambda nn: nn.Conv2d(8, 12, (3, 2), groups=4),
    "transposed, in groups": lambda nn: nn.ConvTranspose2d(8, 12, (3, 2), groups=4),
    "within a module": lambda nn: nn.Sequential(nn.ReLU(), nn.ConvTranspose1d(8, 12, 3, groups=2)),
    "normalized": lambda nn: nn.utils.parametrizations.weight_norm(nn.ConvTranspose1d(8, 12, 3)),
}


@pytest.mark.parametrize("options", [{"stride": (4, 1), "dilation": 2}, {"stride": (2, 5), "groups": 4}], ids=str)
def test_a_transposed_convolution_of_torch_has_the_inputs_that_an_output_sums(options):
    import torch

    module = torch.nn.ConvTranspose2d(8, 12, 3, bias=False, **options)
    model = keras.Sequential([keras.Input((8, 9, 9)), layers.TorchModuleWrapper(module)])
    (weight,) = initialize(model, {"*": "initx.he_normal"}, seed=0).weights
    with torch.no_grad():
        module.weight.fill_(1)
    sums = to_numpy(model(np.ones((1, 8, 9, 9), "float32")))[0, 0]
    assert weight.fan_in == mean_inputs(sums, module.stride)


@pytest.mark.parametrize("make", CONVOLUTIONS_OF_TORCH.values(), ids=CONVOLUTIONS_OF_TORCH)
def test_the_fans_of_a_convolution_of_torch_are_counted(make):
    import torch

    module = make(torch.nn)
    convolution = next(part for part in module.modules() if hasattr(part, "groups"))
    shape = (8, *(7 for _ in convolution.kernel_size))
    ones, one = np.ones((1, *shape), "float32"), np.zeros((1, *shape), "float32")
    one[(0, 0, *(3 for _ in shape[1:]))] = 1
    model = keras.Sequential([keras.Input(shape), layers.TorchModuleWrapper(module)])
    model(ones)
    kernel = tuple(convolution.weight.shape)
    (planned,) = (
        row for row in keras_initx.initialize(model, {"*": "initx.he_normal"}, seed=0).weights if row.shape == kernel
    )
    apply = getattr(torch.nn.functional, f"conv{'_transpose' * convolution.transposed}{len(shape) - 1}d")
    most = apply(torch.from_numpy(ones), torch.ones(kernel), groups=convolution.groups).max()
    reached = apply(torch.from_numpy(one), torch.ones(kernel), groups=convolution.groups).sum()
    assert (planned.fan_in, planned.fan_out) == (most, reached)
    assert planned.expected_std == pytest.approx((2 / float(most)) ** 0.5)


MATRICES_OF_TORCH = {
    "convolution": lambda nn: nn.Conv2d(8, 12, (3, 2)),
    "transposed": lambda nn: nn.ConvTranspose2d(8, 12, (3, 2)),
    "recurrent": lambda nn: nn.LSTM(8, 12, batch_first=True),
}


@pytest.mark.parametrize("make", MATRICES_OF_TORCH.values(), ids=MATRICES_OF_TORCH)
def test_the_units_of_a_kernel_of_torch_are_along_its_own_axes(make):
    import torch

    module = make(torch.nn)
    model = keras.Sequential([layers.TorchModuleWrapper(module)])
    model.build((1, 8))
    axis = 1 if getattr(module, "transposed", False) else 0

    def matrices(initializer):
        keras_initx.initialize(model, {layers.TorchModuleWrapper: initializer}, seed=0)
        kernels = (parameter for parameter in module.parameters() if parameter.ndim > 1)
        return [to_numpy(kernel).swapaxes(0, axis).reshape(kernel.shape[axis], -1) for kernel in kernels]

    for units in matrices(keras_initx.Sparse(3)):
        assert (np.count_nonzero(units, axis=1) == 3).all()
    for units in matrices("initx.orthogonal"):
        short = units if len(units) <= units.shape[1] else units.T
        np.testing.assert_allclose(short @ short.T, np.eye(len(short)), atol=1e-5)


def test_the_units_of_a_transposed_convolution_are_its_filters():
    model = keras.Sequential([keras.Input((5, 5, 8)), layers.Conv2DTranspose(4, 3, name="up")])
    initialize(model, {"up/kernel": keras_initx.Sparse(5)}, seed=0)
    kernel = arrays(model)["up/kernel"]
    assert (np.count_nonzero(kernel, axis=(0, 1, 3)) == 5).all()


def test_the_units_of_a_matrix_in_an_equation_are_where_it_says():
    model = keras.Sequential([keras.Input((8,)), layers.EinsumDense("ab,cb->ac", (4,), name="einsum")])
    initialize(model, {"einsum/kernel": keras_initx.Sparse(5)}, seed=0)
    assert (np.count_nonzero(arrays(model)["einsum/kernel"], axis=1) == 5).all()


@pytest.mark.skipif(not hasattr(layers, "ReversibleEmbedding"), reason="this Keras has no such layer")
def test_a_table_with_lora_that_gives_logits_too_is_known():
    table = layers.ReversibleEmbedding(30, 6, tie_weights=False, name="table")
    inputs = keras.Input((5,), dtype="int32")
    model = keras.Model(inputs, table(table(inputs), reverse=True))
    table.enable_lora(3)
    plan = initialize(model, seed=0)
    assert not plan.left
    assert {row.path.rpartition("/")[2]: row.initializer for row in plan.weights if row.std == 0} == {
        "lora_embeddings_b": "Zeros()"
    }


def test_a_table_of_torch_has_the_fans_of_one_of_keras():
    import torch

    model = keras.Sequential([layers.TorchModuleWrapper(torch.nn.Embedding(50, 7))])
    model.build((1, 8))
    (planned,) = keras_initx.initialize(model, {"*": "initx.he_normal"}, seed=0).weights
    assert (planned.fan_in, planned.fan_out) == (50, 7)


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


def gan(optimizers):
    part = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4), part])
    model.compile("adam", "mse", run_eagerly=True)
    if optimizers == "of a part":
        part.compile("adam", "mse", run_eagerly=True)
        used = part.optimizer
    else:
        used = keras.optimizers.Adam()
        model.others = {"in a tuple": (used,), "in a dict": {"part": used}}[optimizers]
    used.apply([keras.ops.ones(weight.shape) for weight in part.trainable_variables], part.trainable_variables)
    return model, used


@pytest.mark.parametrize("optimizers", ["in a tuple", "in a dict", "of a part"])
def test_all_optimizers_of_a_model_are_reset(optimizers):
    model, used = gan(optimizers)
    assert int(used.iterations) == 1
    keras_initx.initialize(model, seed=0)
    assert int(used.iterations) == 0
    assert all(not to_numpy(variable).any() for variable in used.variables if len(variable.shape) > 1)


def test_the_plan_says_which_weights_of_other_names_a_pattern_matches():
    model = keras.Sequential([keras.Input((5, 4)), layers.GRU(3), layers.Dense(2)])
    rules = {"dense/*": "zeros", "*kernel": "initx.he_normal", "*bias": "zeros"}
    plan = keras_initx.initialize(model, rules, seed=0)
    assert plan.notes == ("The rule '*kernel' is also for recurrent_kernel (1).",)
    assert str(plan).endswith(plan.notes[0])
    rules = {"*recurrent_kernel": "orthogonal", "*kernel": "initx.he_normal"}
    assert keras_initx.initialize(model, rules, seed=0).notes == ()


def test_a_layer_is_not_rules():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(TypeError, match="`rules` must be a dict from conditions to initializers"):
        keras_initx.initialize(model, keras.layers.Dense(3))
