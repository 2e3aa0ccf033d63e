"""What vanishes is named where it harms, and its remedy helps."""

import re

import keras
import numpy as np
import pytest
from judged import LABELS, OF_KERNELS, OF_RELU, X, cured, found, mlp
from keras import layers
from leveled import INPUTS, layer_named, levels_found
from modes import often

import keras_initx


def test_lsuv_helps_where_initializers_do_not():
    # A layer without a kernel makes the signal ten times as large.
    model = keras.Sequential([keras.Input((64,))])
    for _ in range(5):
        model.add(layers.Dense(64, "tanh"))
        model.add(layers.Rescaling(10.0))
    model.add(layers.Dense(64))
    model.add(layers.Rescaling(1e3))
    model.add(layers.Dense(5))
    by_lsuv = found(model)["exploding"].remedy
    assert by_lsuv.text == "use keras_initx.lsuv(model, x)"
    assert found(cured(model, by_lsuv)) == {}


@pytest.mark.rare
def test_what_vanishes_before_zeros_is_named_all_the_same():
    model = mlp("tanh", "initx.small_normal")
    model.get_layer("out").kernel.assign(np.zeros((64, 5)))
    verdicts = found(model, y=LABELS)
    assert list(verdicts) == ["vanishing", "equal units"]
    assert verdicts["vanishing"].layers == ("hidden_3", "hidden_4", "hidden_5")


# What no initializer keeps at one size in depth is scaled to the data.
SCALED = "use keras_initx.lsuv(model, x), and train with Adam"
IN_DEPTH = {
    "relu": (OF_RELU, OF_KERNELS),
    "gelu": (SCALED, "{}"),
}


@pytest.mark.rare
@pytest.mark.parametrize("activation", often(IN_DEPTH, ["relu"]))
def test_what_vanishes_in_forty_layers_is_cured_by_its_remedy(activation):
    # Of Glorot's size, which is too small.
    model = mlp(activation, depth=40)
    verdicts = found(model, y=LABELS)
    assert list(verdicts) == ["vanishing", "vanishing gradient"]
    initializers, of_signals = IN_DEPTH[activation]
    assert verdicts["vanishing"].remedy.text == of_signals.format(initializers)
    of_gradients = SCALED if initializers == SCALED else f"use {initializers} in all layers"
    assert verdicts["vanishing gradient"].remedy.text == of_gradients
    remedy = verdicts["vanishing gradient"].remedy
    for one in (remedy, *remedy.others):
        assert found(cured(model, one), y=LABELS) == {}


def test_a_batch_of_one_is_the_cause_of_what_its_normalization_loses():
    stack = [layers.Dense(64), layers.BatchNormalization(name="norm"), layers.ReLU(), layers.Dense(5)]
    model = keras.Sequential([keras.Input((64,)), *stack])
    verdicts = found(model, X[:1], LABELS[:1])
    assert list(verdicts) == ["vanishing", "vanishing gradient"]
    for verdict in verdicts.values():
        assert verdict.remedy.text == "use a batch of several examples, because norm normalizes over them"
    assert found(model, y=LABELS) == {}


@pytest.mark.parametrize("epsilon", [1e-12, 1e-3])
def test_a_small_signal_is_a_note_if_a_normalization_brings_it_back(epsilon):
    small = keras.initializers.RandomNormal(stddev=1e-6)
    stack = [layer_named("small", small), layers.LayerNormalization(epsilon=epsilon, name="norm"), layer_named("out")]
    verdicts = levels_found(keras.Sequential([keras.Input((16,)), *stack]))
    if epsilon < 1e-6:
        assert verdicts == {("vanishing", "note"): ("small",)}
    else:
        # A variance of 1e-11 is nothing beside the epsilon of the normalization.
        assert verdicts == {("vanishing", "warning"): ("small", "norm", "out")}


def test_a_small_signal_that_is_added_to_another_is_a_note():
    inputs = keras.Input((16,))
    hidden = layer_named("first", activation="relu")(inputs)
    hidden += layer_named("branch", keras.initializers.RandomNormal(stddev=1e-6))(hidden)
    assert levels_found(keras.Model(inputs, layer_named("out")(hidden))) == {("vanishing", "note"): ("branch",)}


def test_a_small_branch_is_not_blamed_for_what_vanishes_later():
    inputs = keras.Input((16,))
    branch, small = (layer_named(name, keras.initializers.RandomNormal(stddev=1e-5)) for name in ("branch", "small"))
    hidden = layer_named("hidden")(layers.Add()([inputs, branch(inputs)]))
    verdicts = levels_found(keras.Model(inputs, layer_named("out")(small(hidden))))
    del verdicts["linear layers", "note"]
    assert verdicts == {("vanishing", "warning"): ("small", "out"), ("vanishing", "note"): ("branch",)}


@pytest.mark.rare
@pytest.mark.parametrize(("depth", "level"), [(4, "warning"), (16, "error")])
def test_what_vanishes_is_an_error_where_no_gradient_is_left(depth, level):
    stack = [
        layer_named(f"small_{number}", keras.initializers.RandomNormal(stddev=3e-4), "tanh") for number in range(depth)
    ]
    model = keras.Sequential([keras.Input((16,)), *stack, layer_named("out")])
    levels = [verdict.level for verdict in keras_initx.diagnose(model, INPUTS, INPUTS, loss="mse").verdicts]
    assert levels[0] == level
    assert [verdict.level for verdict in keras_initx.diagnose(model, INPUTS).verdicts] == ["warning"]


def normalized(seed, mean, is_branch=False):
    """Return a network whose scales are drawn from a normal distribution."""
    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((16,))
    for _ in range(3):
        scale = keras.initializers.RandomNormal(mean, 0.02)
        before = x
        x = keras.layers.BatchNormalization(gamma_initializer=scale)(keras.layers.Dense(16)(x))
        x = keras.layers.Add()([before, x]) if is_branch else keras.layers.ReLU()(x)
    return keras.Model(inputs, keras.layers.Dense(1)(x))


@pytest.mark.parametrize("seed", often(range(4), [0]))
def test_scales_near_0_are_the_cause_for_each_seed(seed):
    x = np.random.default_rng(0).normal(size=(64, 16)).astype("float32")
    (verdict,) = keras_initx.diagnose(normalized(seed, 0.0), x, x[:, :1], loss="mse").verdicts
    assert (verdict.problem, verdict.level, len(verdict.layers)) == ("vanishing", "warning", 3)
    names = r"batch_normalization\b.*, batch_normalization_1\b.*, batch_normalization_2\b.*"
    assert re.fullmatch(f"set the scale of {names} to ones", str(verdict.remedy))
    assert set(verdict.remedy.rules.values()) == {"ones"}
    for other in (normalized(seed, 1.0), normalized(seed, 0.0, is_branch=True)):
        assert not keras_initx.diagnose(other, x, x[:, :1], loss="mse").verdicts
