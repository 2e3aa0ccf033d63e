"""Remedies where weights are frozen, such as those of another training."""

import keras
import numpy as np
import pytest
from asked import asked
from keras import layers
from modes import often

import keras_initx
from keras_initx.tools.diagnose._frozen import propose_for_frozen
from keras_initx.tools.diagnose._measured_layers import measured_layers
from keras_initx.tools.diagnose._redrawing import make_choice

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
    assert " and 3 more, which are frozen, and pass inputs as in that training; or" in verdict.remedy.text
    assert "; or add keras.layers.Rescaling(" in verdict.remedy.text
    plan = keras_initx.initialize(model, report, seed=0)
    kernels = [weight for weight in plan.rows if weight.fan_in]
    assert [weight.reason for weight in kernels] == 5 * ["frozen"] + ["in no remedy"]


def test_those_that_are_not_frozen_are_drawn_if_they_are_the_cause():
    kept = layers.Dense(20, "tanh", trainable=False, name="kept")
    model = keras.Sequential([keras.Input((20,)), *tiny(3), kept, layers.Dense(3)])
    before = kept.get_weights()[0]
    report = keras_initx.diagnose(model, ROWS)
    assert report.problems[0].remedy.text.endswith(" layers, without kept/kernel, which is frozen")
    plan = keras_initx.initialize(model, report, seed=0)
    assert {weight.path: weight.reason for weight in plan.rows}["kept/kernel"] == "frozen"
    assert keras_initx.diagnose(model, ROWS).ok
    np.testing.assert_array_equal(kept.get_weights()[0], before)


@pytest.mark.parametrize(("factor", "are_cause"), [(1.5, False), (3.0, True)])
def test_frozen_kernels_are_the_cause_if_their_scale_is_wrong_by_two_or_more(factor, are_cause):
    kept = keras_initx.Scaled(keras_initx.HeNormal(seed=0), factor)
    frozen = layers.Dense(20, "relu", kernel_initializer=kept, trainable=False)
    right = layers.Dense(20, "relu", kernel_initializer=keras_initx.HeNormal(seed=1))
    model = keras.Sequential([keras.Input((20,)), frozen, right])
    choices = [make_choice(keras_initx.HeNormal())]
    remedy = asked(lambda of: propose_for_frozen(measured_layers(of), choices), model, ROWS)
    assert (remedy is not None) is are_cause


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
