"""Remedies where weights are frozen, such as those of another training."""

import keras
import numpy as np
import pytest
from keras import layers
from modes import often

import keras_initx

ROWS = np.random.default_rng(0).normal(size=(64, 20)).astype("float32")


def tiny(count, **options):
    """Return layers in which signals vanish."""
    kernel = keras.initializers.RandomNormal(stddev=0.01)
    return [layers.Dense(20, "tanh", kernel_initializer=kernel, **options) for _ in range(count)]


def nested():
    backbone = keras.Sequential([keras.Input((20,)), *tiny(5)], name="backbone")
    backbone.trainable = False
    return keras.Sequential([keras.Input((20,)), backbone, layers.Dense(3)])


def of_frozen_weights():
    model = keras.Sequential([keras.Input((20,)), *tiny(5), layers.Dense(3)])
    for layer in model.layers[:-1]:
        layer.kernel.trainable = False
    return model


class Frozen(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = tiny(5, trainable=False)
        self.out = layers.Dense(3)

    def call(self, x):
        for layer in self.hidden:
            x = layer(x)
        return self.out(x)


def loaded(folder):
    nested().save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


FREEZING = {"nested": nested, "weights": of_frozen_weights, "subclassed": Frozen, "loaded": loaded}


@pytest.mark.parametrize("how", FREEZING)
@pytest.mark.parametrize("policy", often(["float32", "bfloat16"], ["bfloat16"]))
def test_frozen_weights_are_left_and_the_remedy_says_so(how, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = loaded(tmp_path) if how == "loaded" else FREEZING[how]()
        report = keras_initx.diagnose(model, ROWS)
    finally:
        keras.config.set_dtype_policy("float32")
    (verdict,) = report.problems
    assert verdict.problem == "vanishing"
    assert verdict.remedy.text.startswith("set trainable=True for ")
    assert " and 3 more, which are frozen, then use keras_initx.GlorotUniform()" in verdict.remedy.text
    plan = keras_initx.initialize(model, report, seed=0)
    kernels = [weight for weight in plan.rows if weight.fan_in]
    assert [weight.detail for weight in kernels] == 5 * ["frozen"] + ["in no remedy"]


def test_those_that_are_not_frozen_are_drawn_if_they_are_the_cause():
    kept = layers.Dense(20, "tanh", trainable=False, name="kept")
    model = keras.Sequential([keras.Input((20,)), *tiny(3), kept, layers.Dense(3)])
    before = kept.get_weights()[0]
    report = keras_initx.diagnose(model, ROWS)
    assert report.problems[0].remedy.text.endswith(" layers, without kept/kernel, which is frozen")
    plan = keras_initx.initialize(model, report, seed=0)
    assert {weight.path: weight.detail for weight in plan.rows}["kept/kernel"] == "frozen"
    assert keras_initx.diagnose(model, ROWS).ok
    np.testing.assert_array_equal(kept.get_weights()[0], before)


def test_inputs_of_a_frozen_base_that_are_too_large_are_standardized_and_nothing_is_drawn():
    base = keras.Sequential([keras.Input((20,)), layers.Dense(20, "tanh"), layers.Dense(20, "tanh")])
    base.trainable = False
    model = keras.Sequential([keras.Input((20,)), base, layers.Dense(3)])
    verdicts = {verdict.problem: verdict for verdict in keras_initx.diagnose(model, 300 * ROWS).problems}
    assert verdicts["saturated"].remedy.text.startswith("standardize the inputs (")
    assert not any(verdict.remedy.weights for verdict in verdicts.values())


SHUT = {"bias_initializer": keras.initializers.Constant(-6.0), "unit_forget_bias": False}
LARGE = {"kernel_initializer": keras.initializers.RandomNormal(stddev=20.0)}
DEAD = {"bias_initializer": keras.initializers.Constant(-10.0)}


@pytest.mark.parametrize(
    ("shape", "make", "problem"),
    [
        ((12, 6), lambda: [layers.LSTM(4, **SHUT, trainable=False)], "memory"),
        ((20,), lambda: [layers.Dense(20, "relu", **DEAD, trainable=False)], "dead units"),
        ((20,), lambda: [layers.Dense(4, "softmax", **LARGE, trainable=False, name="kept")], "saturated"),
    ],
    ids=["gates", "dead units", "last layer"],
)
def test_no_remedy_draws_what_is_frozen(shape, make, problem):
    model = keras.Sequential([keras.Input(shape), *make()])
    verdict = keras_initx.diagnose(model, np.random.default_rng(0).normal(size=(64, *shape))).problems[0]
    assert verdict.problem == problem
    assert verdict.remedy.text.startswith("set trainable=True for ")
    assert not verdict.remedy.weights
