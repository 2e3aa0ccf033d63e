"""Networks with planted faults, and the verdicts on them."""

import keras
import numpy as np
from keras import initializers, layers
from stated import levels_of

import keras_initx
from keras_initx.tools.diagnose.verdicts import RULES

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(256, 64)).astype("float32")
LABELS = GENERATOR.integers(0, 5, 256)
IMAGES = GENERATOR.normal(size=(16, 8, 8, 64)).astype("float32")
SEQUENCES = GENERATOR.normal(size=(32, 10, 16)).astype("float32")
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def mlp(activation, kernel="glorot_uniform", depth=5, units=64, **arguments):
    """Return dense layers `hidden_1`, `hidden_2`... and `out`, whose kernels are made by `kernel` but for the last."""
    hidden = [
        layers.Dense(
            units, activation, kernel_initializer=initializers.get(kernel), name=f"hidden_{number}", **arguments
        )
        for number in range(1, depth + 1)
    ]
    return keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(5, name="out")])


def found(model, x=X, y=None, **arguments):
    """Return the verdicts by the name of the problem."""
    report = keras_initx.diagnose(model, x, y, loss=CROSSENTROPY, **arguments)
    assert report.ok == (not report.problems)
    rules = {rule.problem: rule for rule in RULES}
    for verdict in report.verdicts:
        assert set(verdict.layers) <= {layer.name for layer in report.rows}
        assert verdict.level in levels_of(rules[verdict.problem])
    return {verdict.problem: verdict for verdict in report.verdicts}


OF_KERNELS = "use {} in this and all earlier layers"
OF_RELU = 'keras_initx.Orthogonal(gain="relu") or keras_initx.HeNormal()'


def cured(model, remedy):
    """Return `model` with the weights of a remedy."""
    if remedy.lsuv:
        keras_initx.lsuv(model, X, seed=0)
    else:
        keras_initx.initialize(model, {**remedy.rules, "*": None}, seed=0)
    return model


def level_of(problem, model, x):
    """Return the level of a problem, `None` if it is not found."""
    levels = [verdict.level for verdict in keras_initx.diagnose(model, x).verdicts if verdict.problem == problem]
    return levels[0] if levels else None
