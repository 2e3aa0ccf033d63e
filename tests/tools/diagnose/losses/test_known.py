"""Losses of Keras are known in each form."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from compared_losses import X, Y, given_outputs, losses
from keras import layers
from modes import often

import keras_initx

LABELS = np.arange(16) % 3
ONE_HOT = np.eye(3)[LABELS]
PROBABILITIES = np.exp(X[:, :3]) / np.exp(X[:, :3]).sum(axis=1, keepdims=True)
OFF = 0.3 * X[:, :3]  # by which outputs are off targets of deviation 1
NATS = -np.log(PROBABILITIES[np.arange(16), LABELS]).mean()
BINARY = -(ONE_HOT * np.log(PROBABILITIES) + (1 - ONE_HOT) * np.log(1 - PROBABILITIES)).mean()
OF_CLASSES, OF_TWO = (NATS, np.log(3)), (BINARY, np.log(2))
ODDS = PROBABILITIES[:, :1]
LOG_ODDS = np.where(LABELS > 0, np.log(ODDS[:, 0]), np.log(1 - ODDS[:, 0]))
OF_ONE = (-LOG_ODDS.mean(), np.log(2))
OF_ONE_DISTANCE = (np.sqrt((OFF[:, 0] ** 2).mean()), Y[:, 0].std())
BINARY_FORMS = {
    "short name": "bce",
    "sum": keras.losses.BinaryCrossentropy(reduction="sum"),
    "by shapes": "crossentropy",
}
OF_A_DISTANCE = (np.sqrt((OFF**2).mean()), np.sqrt(Y.var(axis=0).mean()))


class Known(NamedTuple):
    """A loss, outputs and targets, with the loss of these and that of a blind guess."""

    loss: Any
    outputs: np.ndarray
    targets: np.ndarray
    expected: tuple[float, float]


KNOWN = {
    "name": Known(loss="sparse_categorical_crossentropy", outputs=PROBABILITIES, targets=LABELS, expected=OF_CLASSES),
    "column of labels": Known(
        loss="sparse_categorical_crossentropy", outputs=PROBABILITIES, targets=LABELS[:, None], expected=OF_CLASSES
    ),
    "logits": Known(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        outputs=X[:, :3],
        targets=LABELS,
        expected=OF_CLASSES,
    ),
    "sum": Known(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
        outputs=X[:, :3],
        targets=LABELS,
        expected=OF_CLASSES,
    ),
    "one-hot": Known(
        loss=keras.losses.CategoricalCrossentropy(), outputs=PROBABILITIES, targets=ONE_HOT, expected=OF_CLASSES
    ),
    "by shapes": Known(loss="crossentropy", outputs=PROBABILITIES, targets=LABELS, expected=OF_CLASSES),
    "by shapes, one-hot": Known(loss="CE", outputs=PROBABILITIES, targets=ONE_HOT, expected=OF_CLASSES),
    "binary": Known(loss="binary_crossentropy", outputs=PROBABILITIES, targets=ONE_HOT, expected=OF_TWO),
    "binary class": Known(
        loss=keras.losses.BinaryCrossentropy, outputs=PROBABILITIES, targets=ONE_HOT, expected=OF_TWO
    ),
    "squares": Known(loss="mse", outputs=Y + OFF, targets=Y, expected=OF_A_DISTANCE),
    "absolute": Known(loss=keras.losses.MeanAbsoluteError(), outputs=Y + OFF, targets=Y, expected=OF_A_DISTANCE),
    "huber": Known(loss="huber", outputs=Y + OFF, targets=Y, expected=OF_A_DISTANCE),
    "vector of targets": Known(loss="mse", outputs=Y[:, :1] + OFF[:, :1], targets=Y[:, 0], expected=OF_ONE_DISTANCE),
    **{
        f"vector, {form}": Known(loss=loss, outputs=ODDS, targets=LABELS > 0, expected=OF_ONE)
        for form, loss in BINARY_FORMS.items()
    },
}


@pytest.mark.parametrize("name", often(KNOWN, [*KNOWN][::2]))
def test_a_loss_is_compared_with_that_of_a_blind_guess(name):
    known = KNOWN[name]
    model = given_outputs(known.outputs.shape[1])
    found = losses(model, known.outputs, known.targets, loss=known.loss)["identity"]
    assert found == pytest.approx(known.expected, rel=1e-4)


def cubes(targets, outputs):
    return keras.ops.mean(keras.ops.abs(targets - outputs) ** 3)


@pytest.mark.parametrize("loss", [cubes, "cosine_similarity"], ids=["function", "name"])
def test_a_loss_that_is_not_known_is_not_compared(loss):
    assert losses(given_outputs(), Y, 1000 + Y, loss=loss) == {"identity": (None, None)}


def test_a_crossentropy_that_is_large_by_what_follows_the_last_layer():
    inputs = keras.Input((6,))
    logits = 100 * layers.Dense(3, "tanh", name="out")(layers.Dense(6)(inputs))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    (verdict,) = keras_initx.diagnose(keras.Model(inputs, logits), X, LABELS, loss=loss).verdicts
    assert verdict.problem == "large first loss"
    assert "; later operations make them 100 times as large. " in verdict.evidence
    assert verdict.remedy.text.startswith("use a smaller factor after out, ")
