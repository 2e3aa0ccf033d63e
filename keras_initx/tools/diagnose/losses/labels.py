"""The meaning of labels: signs, several classes for an example, or numbers."""

import numpy as np

from keras_initx._typing import Array
from keras_initx.tools.diagnose.losses.heads import OutputHead

# Share of the rows with several ones from which on they are no accident.
SEVERAL = 0.01
# Share of the labels without a meaning from which on they are no accident.
MANY = 0.1


def has_several_classes(head: OutputHead) -> bool:
    """Return whether labels of a categorical crossentropy have several classes for an example."""
    if head.loss.kind != "categorical" or head.form != "rows":
        return False
    return compute_several_share(head) > SEVERAL


def compute_several_share(head: OutputHead) -> float:
    """Compute the fraction of the rows of targets with several ones among zeros."""
    rows = head.target_rows
    return float(np.mean(find_binary_rows(rows) & (np.count_nonzero(rows, axis=-1) > 1)))


def has_arbitrary_numbers(head: OutputHead) -> bool:
    """Return whether targets of a categorical crossentropy are no probabilities of classes.

    Probabilities are zeros and ones, or shares that add up to 1.
    """
    if head.loss.kind != "categorical" or head.form != "rows":
        return False
    rows = head.target_rows
    are_several = np.count_nonzero(rows, axis=-1) > 1
    are_shares = (abs(rows.sum(axis=-1, dtype="float64") - 1) < 1e-2) & (rows >= 0).all(axis=-1)
    return bool(np.mean(~find_binary_rows(rows) & are_several & ~are_shares) > MANY)


def find_binary_rows(rows: Array) -> Array:
    """Return an array that is true for each row of zeros and ones alone."""
    return np.asarray(((rows == 0) | (rows == 1)).all(axis=-1))


def has_sign_labels(head: OutputHead) -> bool:
    """Return whether the targets are -1 and 1."""
    targets = head.target_signal
    return head.has_integer_targets and targets.min == -1 and targets.max == 1 and not targets.zeros
