"""Assertions for the tests of a project that builds models."""

import keras

from keras_initx._signatures import shorten_signature
from keras_initx.checkpoints._sources import LayoutName
from keras_initx.inspection._batch import Data
from keras_initx.tools.audit._audit import Like, audit_at
from keras_initx.tools.compare_outputs._compare import LikeOutputs, compare_outputs
from keras_initx.tools.initialize._rules import RulesOrPlan
from keras_initx.tools.load_pretrained._array_names import NamesDict

__all__ = ["assert_initialized", "assert_same_outputs"]

# The probability that a test fails by chance.
_ALPHA = 1e-6


@shorten_signature
def assert_initialized(
    weights: Like,
    rules: RulesOrPlan | None = None,
    *,
    like: Like | None = None,
    seed: int | None = None,
) -> None:
    """Raise `AssertionError` unless weights are initialized as you say.

    Use it in a test of your project, before training. It runs `keras_initx.audit`.

    Args:
        weights: See `keras_initx.audit`.
        rules: See `keras_initx.audit`: rules, a recipe or a plan.
        like: See `keras_initx.audit`: a contract or its path, other weights, or a function that
            makes them.
        seed: See `keras_initx.audit`. With it, the weights must have the bits that this seed gives.
            Without it, a test with unseeded weights fails by chance once in a million times.

    Raises:
        AssertionError: If a weight is not initialized so, with the table of the audit.

    Example:
        >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32)])
        >>> assert_initialized(model, {"dense/kernel": "glorot_uniform"})
        >>> try:
        ...     assert_initialized(model, {"dense/kernel": "he_normal"})
        ... except AssertionError as error:
        ...     print(str(error).splitlines()[0])
        1 of 2 weights is not as the rules say.
    """
    report = audit_at(_ALPHA, weights, rules, like=like, seed=seed)
    if not report.ok:
        raise AssertionError(f"{report.summary}\n\n{report}")


@shorten_signature
def assert_same_outputs(
    model: keras.Model,
    x: Data,
    like: LikeOutputs,
    y: Data | None = None,
    *,
    names: NamesDict | None = None,
    layout: LayoutName | None = None,
    tolerance: float | None = None,
) -> None:
    """Raise `AssertionError` unless your model has the same outputs as another model.

    Use it in a test of your project, for example after a port. It runs
    `keras_initx.compare_outputs`, which compares every output of the model and each layer that has
    a counterpart. If you pass targets, it also compares the first step of training.

    Args:
        model: A built Keras model.
        x: Its inputs, see `keras_initx.compare_outputs`.
        like: Recorded outputs or the path of their file, another Keras model, or arrays by the
            names of layers, see `keras_initx.compare_outputs`.
        y: The targets, see `keras_initx.compare_outputs`.
        names: The names of layers in `like`, see `keras_initx.compare_outputs`.
        layout: The order of axes in a module of torch, see `keras_initx.compare_outputs`.
        tolerance: The tolerance for all floats, see `keras_initx.compare_outputs`.

    Raises:
        AssertionError: If an output differs, or if an output of the model cannot be compared, with
            the first layer that differs.

    Example:
        >>> from keras_initx import record_outputs
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> x = keras.random.normal((4, 3), seed=0)
        >>> record_outputs(model, x).save("outputs.npz")
        >>> assert_same_outputs(model, x, "outputs.npz")
        >>> _ = model.layers[0].bias.assign([0.0, 0.1])
        >>> try:
        ...     assert_same_outputs(model, x, "outputs.npz")
        ... except AssertionError as error:
        ...     print(str(error).splitlines()[0])
        The outputs of 2 calls differ, beginning with dense.
    """
    report = compare_outputs(model, x, like, y, names=names, layout=layout, tolerance=tolerance)
    if not report.ok:
        raise AssertionError(f"{report._main_problem}\n\n{report}")
