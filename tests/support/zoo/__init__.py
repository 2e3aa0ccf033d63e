"""What the files of the zoo share: data, losses, and the check that the verdicts are right and nothing changed."""

import keras
import numpy as np
from modes import BACKEND, to_numpy

import keras_initx
from keras_initx._keras import list_layers

GENERATOR = np.random.default_rng(0)
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
ZEROS = {("equal units", "note")}


def normal(*shape):
    return GENERATOR.normal(size=shape).astype("float32")


def pixels(*shape):
    return GENERATOR.integers(0, 256, shape).astype("float32")


def tokens(*shape, vocabulary=50):
    return GENERATOR.integers(0, vocabulary, shape)


def kept(model, x):
    """Return what a model keeps, and what it gives, as arrays, without changing it."""
    values = [variable.value for variable in model.variables]
    if BACKEND == "torch":
        values += [buffer.clone() for layer in list_layers(model) for buffer in layer.buffers()]
    with keras.StatelessScope():
        values += keras.tree.flatten(model(x, training=False))
    return [to_numpy(value).copy() for value in values]


def assert_verdicts(build, expected=None):
    """Check the verdicts on a model, and that it keeps and gives what it did.

    Args:
        build: Function that returns a model, inputs, targets or `None`, and a loss or `None`.
        expected: Set of pairs of a problem and a level, or `None` if another test compares them.
    """
    keras.utils.set_random_seed(0)
    model, x, y, loss = build()
    if not model.built:
        model(x)
    before = kept(model, x)
    report = keras_initx.diagnose(model, x, y, loss=loss)
    found = {(verdict.problem, verdict.level) for verdict in report.verdicts}
    assert expected in (None, found), str(report)
    assert report.ok == all(level == "note" for _, level in found)
    for one, other in zip(before, kept(model, x), strict=True):
        np.testing.assert_array_equal(one, other)
