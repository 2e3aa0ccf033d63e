"""The defaults of frameworks: the laws of single layers, what is left, and what is said."""

import inspect
import math
import random

import keras
import numpy as np
import pytest
from framework_laws import KINDS, SIZES, assert_law, model_of
from modes import BACKEND, often, to_numpy
from recipe_rows import Mixer

from keras_initx import audit, initialize, recipes, weights_digest
from keras_initx.inspection._inventory import Inventory
from keras_initx.recipes import _frameworks
from keras_initx.tools.audit._audit import audit_at

layers = keras.layers


def sequential(shape, *parts):
    return keras.Sequential([keras.Input(shape), *parts])


def values_in(model):
    return {weight.path: to_numpy(weight.variable.value) for weight in Inventory(model).weights}


@pytest.mark.parametrize("n", often(SIZES, [12]))
@pytest.mark.parametrize("framework", ["torch", "flax"])
def test_each_weight_has_the_law_of_the_framework(framework, n):
    for kind, row in KINDS.items():
        model = model_of(kind, n)
        initialize(model, framework, seed=n)
        laws = getattr(row, framework)(n)
        found = values_in(model)
        for path, values in found.items():
            end = max((end for end in laws if path.endswith(end)), key=len)
            assert_law(values, laws[end], f"{kind}: {path}")
        assert len(found) == len(laws), kind


@pytest.mark.parametrize("framework", ["torch", "flax"])
@pytest.mark.parametrize("kind", often(KINDS, ["einsum", "grouped", "transposed", "embedding", "lstm", "attention"]))
def test_an_audit_by_the_recipe_agrees_with_what_it_drew_and_names_what_is_smaller(framework, kind):
    model = model_of(kind, 33)
    initialize(model, framework, seed=1)
    assert audit(model, framework).ok
    rows = {weight.path: weight for weight in Inventory(model).weights}
    path = max(rows, key=lambda one: rows[one].variable.value.shape and np.prod(rows[one].shape))
    rows[path].variable.assign(0.8 * to_numpy(rows[path].variable.value) + 0.001)
    assert [row.path for row in audit(model, framework).problems] == [path]


@pytest.mark.every_backend
def test_one_seed_gives_the_same_bits_on_each_backend():
    inputs = keras.Input((8, 6))
    x = layers.Conv1D(8, 3, padding="same", name="conv")(inputs)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.Conv1DTranspose(6, 4, strides=2, name="up")(x)
    x = layers.Bidirectional(layers.LSTM(8, name="lstm"), name="both")(x)
    model = keras.Model(inputs, layers.Dense(5, name="out")(x))
    initialize(model, "torch", seed=0)
    assert weights_digest(model) == "efe95cf9d62f6b1fdee7fc83835d2e48"


def grouped_queries():
    tokens = keras.Input((6, 8))
    found = layers.GroupQueryAttention(4, 4, 2, name="one")(tokens, tokens)
    return keras.Model(tokens, found)


def other_heads(heads=3, key_dim=4, **options):
    tokens = keras.Input((6, 8))
    return keras.Model(tokens, layers.MultiHeadAttention(heads, key_dim, name="one", **options)(tokens, tokens))


def assert_left(model, name, expected):
    """Check that weights of these paths keep their values, and that plan, rules and audit say so."""
    weights = {weight.path: weight.variable for weight in Inventory(model).weights}
    for number, path in enumerate(sorted(expected)):
        weights[path].assign(np.full(weights[path].shape, 3.0 + number))
    before = values_in(model)
    rules = getattr(recipes, name)(model)
    assert set(rules.left) == set(expected)
    plan = initialize(model, name, seed=0)
    for path in expected:
        np.testing.assert_array_equal(values_in(model)[path], before[path])
    where = {"torch": "torch.nn", "flax": "flax.linen", "keras": "keras.layers"}[name]
    (note,) = (note for note in plan.notes if note.startswith("Left, "))
    assert note.startswith(f"Left, since {where} has no such layer: ")
    assert {row.path for row in plan.left} == set(expected)
    reasons = {row.path: row.detail for row in audit(model, name).rows if row.status == "not compared"}
    assert reasons == dict.fromkeys(expected, f"{where} has no such layer")


def paths(model, end=""):
    return [weight.path for weight in Inventory(model).weights if weight.path.endswith(end)]


@pytest.mark.parametrize("name", ["torch", "flax"])
@pytest.mark.parametrize(
    ("build", "end"),
    [
        (lambda: sequential((5, 4), layers.GRU(8, reset_after=False)), ""),
        (lambda: sequential((5, 8, 3), layers.ConvLSTM1D(4, 3)), ""),
        (grouped_queries, ""),
        (lambda: sequential((6, 8), Mixer()), ""),
    ],
    ids=["old GRU", "ConvLSTM", "grouped queries", "own"],
)
def test_what_the_framework_lacks_is_left(name, build, end):
    model = build()
    assert_left(model, name, paths(model, end))


@pytest.mark.parametrize(
    "build",
    [
        other_heads,
        lambda: other_heads(2, 4, value_dim=3),
        lambda: other_heads(2, 4, output_shape=5),
    ],
    ids=["heads", "values", "outputs"],
)
def test_attention_of_sizes_that_torch_lacks_is_left(build):
    model = build()
    assert_left(model, "torch", paths(model))
    assert not recipes.flax(model).left


@pytest.mark.parametrize("name", ["torch", "flax"])
def test_what_a_known_layer_has_beside_is_left(name):
    model = sequential((8,), layers.Dense(6, name="one"), layers.Dense(3))
    model.layers[0].enable_lora(2)
    assert_left(model, name, ["one/lora_kernel_a", "one/lora_kernel_b"])
    factors = {"*lora_kernel_a": "he_uniform", "*lora_kernel_b": "zeros"}
    assert initialize(model, [factors, name], seed=0).left == []


def test_keras_leaves_layers_of_ones_own_only():
    model = sequential((6, 8), Mixer(name="mixer"), layers.GRU(4, reset_after=False))
    assert_left(model, "keras", ["mixer/A_log", "mixer/dt_bias", "mixer/D"])


@keras.saving.register_keras_serializable("frameworks")
class Block(layers.Layer):
    """A layer of one's own with others in it."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm, self.dense = layers.LayerNormalization(), Widened(6)

    def build(self, shape):
        self.norm.build(shape)
        self.dense.build(shape)

    def call(self, x):
        return self.dense(self.norm(x))


@keras.saving.register_keras_serializable("frameworks")
class Widened(layers.Dense):
    """A subclass with a weight of its own."""

    def build(self, shape):
        super().build(shape)
        self.factor = self.add_weight((self.units,), "ones", name="factor")

    def call(self, x):
        return super().call(x) * self.factor


@pytest.mark.parametrize("name", ["torch", "flax", "keras"])
def test_layers_within_those_of_ones_own_and_subclasses_start_as_theirs(name):
    model = sequential((8,), Block(name="block"))
    rules = getattr(recipes, name)(model)
    assert rules.left == ("block/widened/factor",)
    assert {path.rpartition("/")[2] for path in rules.by_path} == {"gamma", "beta", "kernel", "bias", "factor"}


@pytest.mark.parametrize(
    "build",
    [
        lambda: sequential((5, 8), layers.Bidirectional(layers.LSTM(8))),
        lambda: sequential((5, 8), layers.RNN([layers.LSTMCell(8), layers.LSTMCell(8)])),
        lambda: sequential((5, 8), layers.LSTM(8, stateful=False, dtype="mixed_float16")),
        lambda: sequential((5, 8), keras.Sequential([keras.Input((5, 8)), layers.LSTM(8)])),
    ],
    ids=["both directions", "stacked", "mixed", "nested"],
)
def test_a_cell_is_found_in_whatever_runs_it(build):
    rules = recipes.torch(build())
    assert not rules.left
    limits = {path: getattr(value, "limit", getattr(value, "maxval", None)) for path, value in rules.by_path.items()}
    for path, limit in limits.items():
        assert limit == pytest.approx((2 if path.endswith("bias") else 1) * 8**-0.5), path


@pytest.mark.parametrize(
    "build",
    [
        lambda: sequential((5, 8), layers.TimeDistributed(layers.Dense(6))),
        lambda: sequential((8,), layers.SpectralNormalization(layers.Dense(6))),
        lambda: sequential((5, 8), layers.RNN(layers.LSTMCell(8), stateful=False)),
        lambda: sequential((8,), layers.Dense(6, use_bias=False), layers.BatchNormalization()),
    ],
    ids=["each step", "spectral", "cell", "no bias"],
)
@pytest.mark.parametrize("name", ["torch", "flax", "keras"])
def test_wrappers_leave_nothing(build, name):
    assert not getattr(recipes, name)(build()).left


def test_states_and_statistics_are_those_of_their_layers():
    normalization = layers.Normalization()
    normalization.adapt(np.array([[1.0, 2.0], [3.0, 4.0]], "float32"))
    model = sequential((2,), normalization, layers.Dense(3))
    initialize(model, "torch", seed=0)
    np.testing.assert_allclose(values_in(model)["normalization/mean"].ravel(), [2, 3])


@pytest.mark.parametrize("name", ["torch", "flax", "keras"])
def test_quantized_weights_stay(name):
    model = sequential((8,), layers.Dense(6, name="one"), layers.Dense(3, name="two"))
    model.layers[0].quantize("int8")
    before = values_in(model)
    plan = initialize(model, name, seed=0)
    assert {row.path for row in plan.left} == {path for path in before if path.startswith("one/")}
    assert audit(model, name).ok


@pytest.mark.parametrize("name", ["torch", "flax", "keras"])
def test_sources_are_refused(name):
    model = sequential((8,), layers.Dense(6))
    before = values_in(model)
    with pytest.raises(ValueError, match="`source` must be left out"):
        initialize(model, f"{name}:other")
    for path, values in values_in(model).items():
        np.testing.assert_array_equal(values, before[path])


def test_a_default_model_of_keras_is_not_as_torch_says():
    tokens = keras.Input((8,), dtype="int32")
    x = layers.LSTM(64, return_sequences=True)(layers.Embedding(500, 64)(tokens))
    model = keras.Model(tokens, layers.Dense(32)(layers.GRU(48)(x)))
    report = audit(model, "torch")
    found = {row.path: row for row in report.problems}
    assert {
        "embedding/embeddings",
        "lstm/lstm_cell/recurrent_kernel",
        "lstm/lstm_cell/bias",
        "gru/gru_cell/recurrent_kernel",
        "gru/gru_cell/bias",
        "dense/bias",
    } <= found.keys()
    assert found["embedding/embeddings"].ratio == pytest.approx(0.1 / 12**0.5, rel=0.02)
    assert found["lstm/lstm_cell/recurrent_kernel"].ratio == pytest.approx(3**0.5 / 2, rel=0.02)
    assert found["dense/bias"].ratio == found["gru/gru_cell/bias"].ratio == 0


# Layers that are made without initializers, with the shape of their inputs.
OF_KERAS = {
    "Conv3D": lambda: (layers.Conv3D(16, 2), (4, 4, 4, 30)),
    "SeparableConv2D": lambda: (layers.SeparableConv2D(40, 3, depth_multiplier=4), (4, 4, 30)),
    "DepthwiseConv1D": lambda: (layers.DepthwiseConv1D(5, depth_multiplier=8), (8, 60)),
    "Conv3DTranspose": lambda: (layers.Conv3DTranspose(16, 2), (4, 4, 4, 40)),
    "ConvLSTM2D": lambda: (layers.ConvLSTM2D(6, 3), (3, 8, 8, 5)),
    "GRU": lambda: (layers.GRU(30, reset_after=False), (5, 20)),
    "LayerNormalization": lambda: (layers.LayerNormalization(), (5,)),
    "GroupNormalization": lambda: (layers.GroupNormalization(2), (6,)),
    "RMSNormalization": lambda: (layers.RMSNormalization(), (6,)),
    "SpectralNormalization": lambda: (layers.SpectralNormalization(layers.Dense(40)), (60,)),
    "Bidirectional": lambda: (layers.Bidirectional(layers.LSTM(20)), (5, 30)),
}


@pytest.mark.rare
@pytest.mark.release_backends
def test_keras_says_how_layers_of_keras_are_drawn_that_are_made_without_initializers():
    keras.utils.set_random_seed(0)
    models = [model_of(kind, 33) for kind in KINDS]
    models += [sequential(shape, layer) for layer, shape in (make() for make in OF_KERAS.values())]
    models.append(grouped_queries())
    compared = 0
    for model in models:
        report = audit_at(1e-6, model, "keras")
        assert report.ok, str(report)
        compared += len(report.rows) - len(report.not_compared)
        # Not as large as this, if the recipe says how large.
        rules = recipes.keras(model).by_path
        for weight in Inventory(model).weights:
            if len(weight.shape) > 1 and weight.path in rules:
                weight.variable.assign(1.1 * to_numpy(weight.variable.value))
        expected = {weight.path for weight in Inventory(model).weights if math.prod(weight.shape) > 1000}
        assert expected & rules.keys() <= {row.path for row in audit(model, "keras").problems}
    assert compared > 60


def test_keras_ignores_what_the_layer_was_given():
    given = {"kernel_initializer": "ones", "recurrent_initializer": "ones", "bias_initializer": "ones"}
    model = sequential(
        (5, 4), layers.LSTM(8, unit_forget_bias=False, **given), layers.Dense(3, "relu", True, "he_normal")
    )
    rules = recipes.keras(model).by_path
    assert rules["lstm/lstm_cell/recurrent_kernel"] == "orthogonal"
    assert rules["dense/kernel"] == "initx.glorot_uniform"
    initialize(model, "keras", seed=0)
    bias = values_in(model)["lstm/lstm_cell/bias"]
    np.testing.assert_array_equal(bias, np.repeat([0, 1, 0, 0], 8))


def test_keras_takes_the_fans_that_keras_takes():
    # A kernel of (4, 2, 6): the shape says 2 * 6 inputs of a window of 4.
    model = sequential((5, 4), layers.EinsumDense("abc,cde->abde", (5, 2, 6)), layers.Reshape((5, 12)))
    has_axes = "input_axes" in inspect.signature(keras.initializers.VarianceScaling).parameters
    initialize(model, "keras", seed=0)
    limit = (6 / (4 + 12 if has_axes else 8 + 24)) ** 0.5
    values = np.abs(values_in(model)["einsum_dense/kernel"])
    assert 0.9 * limit < values.max() <= limit


def test_a_resnet_of_keras_takes_the_same_fans():
    inputs = keras.Input((8, 8, 6))
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", groups=3)(inputs))
    x = layers.Add()([inputs, x])
    model = keras.Model(inputs, layers.EinsumDense("abcd,def->abcef", (8, 8, 2, 5), name="head")(x))
    said = recipes.resnet(model, source="keras").by_path
    expected = recipes.keras(model).by_path
    assert {path: repr(said[path]) for path in said if path.endswith("kernel")} == {
        path: repr(expected[path]) for path in said if path.endswith("kernel")
    }


def test_the_names_of_recipes_hide_no_package():
    assert _frameworks.keras is keras
    assert repr(recipes.keras) == "recipes.keras"
    assert repr(recipes.torch) == "recipes.torch"
    assert "outermost" not in recipes.torch.__doc__
    assert "`LSTMCell`" in recipes.torch.__doc__


def test_rules_draw_no_seed():
    model = model_of("lstm", 4)
    random.seed(3)
    expected = random.random()
    random.seed(3)
    recipes.keras(model)
    assert random.random() == expected


@pytest.mark.skipif(BACKEND != "torch", reason="compares with torch")
def test_a_fresh_model_of_torch_is_as_the_recipe_says():
    import torch
    from torch_models import in_keras, in_torch, load

    model = in_keras()
    torch.manual_seed(0)
    load(model, in_torch())
    report = audit(model, "torch")
    assert report.ok, str(report)
    assert report.not_compared == []
