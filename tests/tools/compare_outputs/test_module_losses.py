"""The settings of a loss of torch are read while it is computed, and name the cause if the loss differs."""

import keras
import numpy as np
import pytest
from keras import losses

import keras_initx

torch = pytest.importorskip("torch")
functional = torch.nn.functional

CLASSES = 5
rng = np.random.default_rng(0)
X = rng.normal(size=(16, 8)).astype("float32")
LABELS = rng.integers(0, CLASSES, 16)
ONE_HOT = np.eye(CLASSES, dtype="float32")[LABELS]


class Head(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(x)


def compare(loss, loss_there, y):
    torch.manual_seed(0)
    module = Head()
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(CLASSES, name="head")])
    keras_initx.load_pretrained(model, module.state_dict(), layout="torch")
    model.compile("sgd", loss)
    recorded = keras_initx.record_outputs(module, torch.as_tensor(X), y, loss=loss_there)
    return keras_initx.compare_outputs(model, X, recorded, y=y).step


def smooth(outputs, y):
    return functional.cross_entropy(outputs, y, label_smoothing=0.1)


def two_losses(outputs, y):
    return functional.mse_loss(outputs, y) / 2 + functional.mse_loss(outputs, y) / 2


def softmax_first(outputs, y):
    return functional.nll_loss(torch.log_softmax(outputs, -1), y)


SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)
NN = torch.nn
FAULTS = {
    "label smoothing": (
        SPARSE,
        NN.CrossEntropyLoss(label_smoothing=0.1),
        LABELS,
        "label_smoothing of the loss: 0 here, 0.1 there",
    ),
    "label smoothing in a function": (SPARSE, smooth, LABELS, "label_smoothing of the loss: 0 here, 0.1 there"),
    "weights of classes": (
        SPARSE,
        NN.CrossEntropyLoss(torch.arange(1.0, 6.0)),
        LABELS,
        "weights of classes of the loss: none here, given there",
    ),
    "a class that is ignored": (
        SPARSE,
        NN.CrossEntropyLoss(ignore_index=0),
        LABELS,
        "ignore_class of the loss: None here, 0 there",
    ),
    "logits": (
        "sparse_categorical_crossentropy",
        NN.CrossEntropyLoss(),
        LABELS,
        "from_logits of the loss: False here, True there",
    ),
    "delta": (losses.Huber(1.0), NN.HuberLoss(delta=0.5), 3 * ONE_HOT, "delta of the loss: 1 here, 0.5 there"),
    "another loss": ("mse", NN.L1Loss(), ONE_HOT, "loss: mean_squared_error here, mean_absolute_error there"),
}


@pytest.mark.parametrize(("loss", "loss_there", "y", "cause"), FAULTS.values(), ids=FAULTS)
def test_a_setting_of_the_loss_is_the_cause_of_a_loss_that_differs(loss, loss_there, y, cause):
    step = compare(loss, loss_there, y)
    assert not step.ok
    assert step.loss.cause == cause
    assert step.loss.text.endswith(cause)


CLEAN = {
    "classes": (SPARSE, NN.CrossEntropyLoss(), LABELS),
    "log probabilities": (SPARSE, softmax_first, LABELS),
    "smoothing in both": (losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), smooth, ONE_HOT),
    "Huber": (losses.Huber(0.5), NN.HuberLoss(delta=0.5), ONE_HOT),
    "a class that no target has": (SPARSE, NN.CrossEntropyLoss(ignore_index=7), LABELS),
    "two losses": ("mse", two_losses, ONE_HOT),
}


@pytest.mark.parametrize(("loss", "loss_there", "y"), CLEAN.values(), ids=CLEAN)
def test_equal_losses_have_no_cause(loss, loss_there, y):
    step = compare(loss, loss_there, y)
    assert step.ok, str(step)
    assert step.loss.cause == ""
    assert list(step.later) == []


def test_a_setting_that_this_batch_does_not_show_makes_later_steps_differ():
    # No error reaches either delta.
    step = compare(losses.Huber(100.0), NN.HuberLoss(delta=50.0), ONE_HOT)
    assert step.loss.status == "equal"
    assert not step.ok
    assert step.summary.startswith("The first step is equal, later ones are not: delta of the loss: 100 here, 50 there")
