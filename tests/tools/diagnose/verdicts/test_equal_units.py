"""Equal units are named, unless they are meant."""

import keras
import numpy as np
import pytest
from judged import GENERATOR, IMAGES, found
from keras import initializers, layers
from leveled import INPUTS, layer_named, levels_found

import keras_initx


def test_an_activation_of_its_own_layer_is_that_of_the_layer_before():
    model = [layers.Dense(64), layers.ReLU(), layers.Dense(64), layers.Activation("selu"), layers.Dense(64)]
    model = keras.Sequential([keras.Input((64,)), *model])
    for layer, suggested in zip(model.layers[::2], ("HeNormal()", "LecunNormal()", "GlorotUniform()"), strict=True):
        weights = layer.kernel.numpy() if hasattr(layer.kernel, "numpy") else np.array(layer.kernel)
        layer.kernel.assign(0 * layer.kernel)
        assert found(model)["equal units"].remedy.text.startswith(f"draw random weights: keras_initx.{suggested}")
        layer.kernel.assign(weights)


def test_a_table_of_positions_may_have_equal_columns():
    angles = np.arange(20)[:, None] / 10000 ** (np.arange(32) / 8)
    table = layers.Embedding(20, 32, embeddings_initializer=initializers.Constant(np.cos(angles)))
    assert found(keras.Sequential([keras.Input((6,)), table]), GENERATOR.integers(0, 20, (32, 6))) == {}


def test_a_kernel_that_enlarges_has_identical_units_on_purpose():
    kernel = keras_initx.ICNR(keras.initializers.HeNormal(), scale=2)
    layer = layers.Conv2D(16, 3, kernel_initializer=kernel)
    assert found(keras.Sequential([keras.Input((8, 8, 64)), layer]), IMAGES) == {}


def test_zeros_of_the_last_layer_behind_other_zeros_are_an_error():
    model = keras.Sequential([keras.Input((16,)), layer_named("zero", "zeros", "tanh"), layer_named("out", "zeros")])
    assert levels_found(model) == {("equal units", "error"): ("zero", "out")}


@pytest.mark.parametrize(("difference", "level"), [(1e-3, "note"), (1e-6, "error")])
def test_examples_that_differ_by_more_than_rounding_are_not_the_same(difference, level):
    inputs = keras.Input((16,))
    model = keras.Model(inputs, layer_named("out")(inputs + layer_named("zero", "zeros")(inputs)))
    assert levels_found(model, 1 + difference * INPUTS)["equal units", level] == ("zero",)


def test_zeros_behind_which_a_bias_gives_the_same_for_all_examples_are_an_error():
    zero = layers.Dense(16, kernel_initializer="zeros", bias_initializer="random_normal", name="zero")
    model = keras.Sequential([keras.Input((16,)), zero, layers.LayerNormalization(), layer_named("out")])
    assert levels_found(model) == {("equal units", "error"): ("zero",)}


def test_zeros_of_the_last_layer_are_a_note():
    stack = [layer_named("hidden", activation="relu"), layer_named("out", "zeros"), layers.Softmax()]
    assert levels_found(keras.Sequential([keras.Input((16,)), *stack])) == {("equal units", "note"): ("out",)}


@pytest.mark.parametrize("zero", ["kernel", "gamma"])
def test_zeros_at_the_end_of_a_residual_branch_are_a_note(zero):
    inputs = hidden = keras.Input((16,))
    for number in range(2):
        branch = layer_named(f"branch_{number}", activation="relu")(
            layers.LayerNormalization(name=f"before_{number}")(hidden)
        )
        branch = layer_named(f"end_{number}", "zeros" if zero == "kernel" else "glorot_uniform")(branch)
        if zero == "gamma":
            branch = layers.BatchNormalization(gamma_initializer="zeros", name=f"gamma_{number}")(branch)
        hidden += layers.Dropout(0.1)(branch)
    names = ("end_0", "end_1") if zero == "kernel" else ("gamma_0", "gamma_1")
    assert levels_found(keras.Model(inputs, layer_named("out")(hidden))) == {("equal units", "note"): names}


def test_zeros_of_a_residual_branch_do_not_hide_what_vanishes_later():
    inputs = keras.Input((16,))
    hidden = inputs + layer_named("branch", "zeros")(inputs)
    for number in range(4):
        hidden = layer_named(f"small_{number}", "initx.small_normal", "tanh")(hidden)
    verdicts = levels_found(keras.Model(inputs, layer_named("out")(hidden)))
    assert verdicts["equal units", "note"] == ("branch",)
    assert "small_3" in verdicts["vanishing", "warning"]


@pytest.mark.parametrize(
    ("activation", "level", "end"),
    [("relu", "error", "middle"), ("gelu", "note", "middle"), ("relu", "error", "output")],
)
def test_zeros_that_get_no_gradient_stay_zeros(activation, level, end):
    inputs = keras.Input((16,))
    hidden = layer_named("first", activation=activation)(inputs)
    zero = layer_named("zero", "zeros", activation)(hidden)
    outputs = (
        layer_named("out")(layers.Concatenate()([hidden, zero]))
        if end == "middle"
        else [layer_named("out")(hidden), zero]
    )
    model = keras.Model(inputs, outputs)
    y = INPUTS[:, :16]
    report = keras_initx.diagnose(
        model, INPUTS, y if end == "middle" else [y, y], loss="mse" if end == "middle" else ["mse", None]
    )
    levels = {verdict.problem: verdict.level for verdict in report.verdicts if verdict.layers == ("zero",)}
    if end == "middle":
        assert levels == {"equal units": level}
    else:
        assert levels == {"equal units": "note", "no gradient": "warning"}
    assert [verdict.level for verdict in keras_initx.diagnose(model, INPUTS).verdicts] == ["note"]


def test_a_scale_of_zeros_that_nothing_passes_by_is_an_error():
    stack = [
        layer_named("hidden"),
        layers.BatchNormalization(gamma_initializer="zeros", name="norm"),
        layer_named("out"),
    ]
    report = keras_initx.diagnose(keras.Sequential([keras.Input((16,)), *stack]), INPUTS)
    (verdict,) = report.verdicts
    assert (verdict.problem, verdict.level, verdict.layers) == ("equal units", "error", ("norm",))
    assert verdict.remedy.text == "set the scale of a normalization to ones"


def test_a_position_embedding_of_zeros_is_a_note():
    class Positions(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=shape[1:], initializer="zeros", name="table")

        def call(self, inputs):
            return inputs + self.table

    tokens = np.random.default_rng(0).integers(0, 20, (8, 5))
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(20, 8), Positions(name="positions"), layer_named("out")]
    )
    assert levels_found(model, tokens) == {("equal units", "note"): ("positions",)}


def test_alike_units_of_the_last_layer_are_a_note_and_of_others_a_warning():
    """New classes may start at the mean of the others: their labels part them."""
    model = keras.Sequential([keras.Input((8,)), layers.Dense(6, name="first"), layers.Dense(5, name="last")])
    x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    found = []
    for name in ("last", "first"):
        kernel = model.get_layer(name).kernel
        values = np.array(keras.ops.convert_to_numpy(kernel))
        values[:, 3:] = values[:, :3].mean(axis=1, keepdims=True)
        kernel.assign(values)
        report = keras_initx.diagnose(model, x)
        found.append([(one.problem, one.level, one.layers) for one in report.verdicts])
        assert report.ok == (name == "last")
    note, warning = ("equal units", "note", ("last",)), ("equal units", "warning", ("first",))
    assert found == [[note], [warning, note]]
