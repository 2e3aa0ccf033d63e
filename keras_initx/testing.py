"""Assertions for the tests of a project that builds models."""

from keras_initx.audits._asked import Like
from keras_initx.audits._audit import audit
from keras_initx.audits._contract import Contract
from keras_initx.audits._subjects import Audited
from keras_initx.models._given import RulesOrPlan

__all__ = ["assert_initialized"]


def assert_initialized(
    weights: Contract | Audited,
    rules: RulesOrPlan | None = None,
    *,
    like: Like | None = None,
    seed: int | None = None,
) -> None:
    """Raise `AssertionError` unless weights are what they should be when training starts.

    Args:
        weights: See `keras_initx.audit`.
        rules: See `keras_initx.audit`: rules, a recipe or a plan.
        like: See `keras_initx.audit`: a contract or its path, other weights, or a function that
            makes them.
        seed: See `keras_initx.audit`. With it, the weights must have the bits that this seed gives.
            Without, a test with unseeded weights fails by chance once in a million times.

    Raises:
        AssertionError: If a weight is not, with the table of the audit.

    Example:
        >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32)])
        >>> assert_initialized(model, {"dense/kernel": "glorot_uniform"})
        >>> try:
        ...     assert_initialized(model, {"dense/kernel": "he_normal"})
        ... except AssertionError as error:
        ...     print(str(error).splitlines()[0])
        1 of 2 weights is not as the rules say.
    """
    report = audit(weights, rules, like=like, seed=seed, alpha=1e-6)
    if not report.ok:
        raise AssertionError(f"{report.summary}\n\n{report}")
