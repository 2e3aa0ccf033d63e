"""The settings of loss and optimizer are the same in all their forms."""

import keras
import numpy as np
import pytest
from first_steps import X, Y, network, sgd

from keras_initx import compare_outputs, record_outputs
from keras_initx.tools.compare_outputs._training_settings import read_training_settings

MEAN_SQUARED = {"loss": "mean_squared_error", "loss: reduction": "sum_over_batch_size"}


def of_loss(loss, **kwargs):
    return {
        key: value
        for key, value in read_training_settings(network(loss=loss, **kwargs)).values.items()
        if "loss" in key[:4]
    }


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        "mean_squared_error",
        keras.losses.mean_squared_error,
        keras.losses.MeanSquaredError(),
        "MeanSquaredError",
        {"class_name": "MeanSquaredError", "config": {}, "module": "keras.losses", "registered_name": None},
    ],
)
def test_a_loss_is_named_alike_in_all_forms(loss):
    if isinstance(loss, dict):
        loss = keras.losses.deserialize(loss)
    found = of_loss(loss)
    assert {key: found[key] for key in MEAN_SQUARED} == MEAN_SQUARED


def test_a_function_has_its_defaults():
    found = of_loss("binary_crossentropy")
    assert found["loss: from_logits"] is False
    assert found["loss: label_smoothing"] == 0.0
    assert of_loss(lambda y, p: y - p)["loss"] == "<lambda>"


def test_a_loss_has_its_weight():
    assert read_training_settings(network(loss_weights=0.5)).values["weight of the loss"] == 0.5


def test_an_optimizer_has_its_config():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9)
    found = read_training_settings(network(optimizer=keras.optimizers.SGD(schedule, momentum=0.5))).values
    assert found["optimizer"] == "SGD"
    assert found["optimizer: momentum"] == 0.5
    assert found["optimizer: learning_rate/config/initial_learning_rate"] == 0.1
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5))
    found = read_training_settings(network(optimizer=scaled)).values
    assert found["optimizer: scales the loss"] is True
    assert found["optimizer: learning_rate"] == 0.5


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule without `get_config`, as many are."""

    def __init__(self, share=0.5):
        self.share = share
        self._table = keras.ops.ones(3)

    def __call__(self, step):
        return 1e-2 * self.share ** keras.ops.cast(step, "float32")


class Odd(keras.optimizers.SGD):
    def get_config(self):
        raise RuntimeError


def test_what_cannot_be_read_hides_only_itself():
    found = read_training_settings(network(optimizer=keras.optimizers.SGD(Halving(), momentum=0.9), loss_weights=2.0))
    assert found.values["optimizer: momentum"] == 0.9
    assert found.values["optimizer: learning_rate/config/share"] == 0.5
    assert found.values["weight of the loss"] == 2
    assert found.unread == ["optimizer: learning_rate/config: Halving has no config that can be read"]
    found = read_training_settings(network(optimizer=Odd(momentum=0.9)))
    assert found.values["optimizer: momentum"] == 0.9
    assert found.unread == ["optimizer: Odd has no config that can be read"]


def text_of(here, there):
    return " ".join(str(compare_outputs(network(**here), X, network(**there), y=Y).step).split())


def adam(**kwargs):
    return {"optimizer": keras.optimizers.Adam(1e-3, **kwargs)}


def decaying(rate):
    return {"optimizer": keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.01, 10, rate))}


class Focal(keras.losses.Loss):
    """A loss without a config of its own, whose settings show with other values only."""

    def __init__(self, table, bound=1e6):
        super().__init__(name="focal")
        self.table, self.bound = table, bound

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.minimum(keras.ops.square(y_true - y_pred), self.bound), axis=-1)


@pytest.mark.parametrize(
    ("here", "there", "text"),
    [
        (adam(beta_1=0.8), adam(), "optimizer: beta_1: 0.8 here, 0.9 there"),
        pytest.param(adam(amsgrad=True), adam(), "optimizer: amsgrad: True here, False there", marks=pytest.mark.rare),
        (adam(use_ema=True), adam(), "optimizer: use_ema: True here, False there"),
        (decaying(0.1), decaying(0.5), "optimizer: learning_rate/config/decay_rate: 0.1 here, 0.5 there"),
        (decaying(0.1), {"optimizer": sgd(learning_rate=0.01)}, "learning_rate: ExponentialDecay here, 0.01 there"),
        pytest.param(
            {"optimizer": sgd(learning_rate=Halving(), momentum=0.9)},
            {"optimizer": sgd(learning_rate=Halving())},
            "optimizer: momentum: 0.9 here, 0 there",
            marks=pytest.mark.rare,
        ),
        (
            {"optimizer": sgd(learning_rate=Halving())},
            {"optimizer": sgd(learning_rate=Halving(0.1))},
            "optimizer: learning_rate/config/share: 0.5 here, 0.1 there",
        ),
        ({"loss": Focal([1.0])}, {"loss": Focal([1.0], 1e5)}, "loss: bound: 1e+06 here, 100000 there"),
        pytest.param(
            {"loss": keras.losses.Huber(90.0)},
            {"loss": keras.losses.Huber(80.0)},
            "loss: delta: 90 here, 80 there",
            marks=pytest.mark.rare,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_show_in_later_steps_count(here, there, text):
    report = compare_outputs(network(**here), X, network(**there), y=Y)
    assert not report.ok
    assert report.step.summary.startswith("The first step is equal, later ones are not: ")
    assert text in report.step.summary
    assert report._main_problem == report.step.summary


def test_settings_that_change_nothing_are_silent():
    named = {"optimizer": sgd(name="of_another_name", nesterov=True, ema_momentum=0.5)}
    for here, there in (
        (named, {"optimizer": sgd()}),
        ({"loss": "mse"}, {"loss": keras.losses.MeanSquaredError()}),
        ({"loss_weights": 1.0}, {}),
        (adam(), {"optimizer": keras.optimizers.Adam(np.float64(1e-3))}),
    ):
        report = compare_outputs(network(**here), X, network(**there), y=Y)
        assert report.ok
        assert report.step.settings == []


def test_settings_that_were_not_compared_are_told_of():
    halving = {"optimizer": sgd(learning_rate=Halving())}
    line = "settings that were not compared: optimizer: learning_rate/config: Halving has no config that can be read"
    assert line in text_of(halving, halving)
    recorded = record_outputs(network(optimizer=sgd()), X, Y)
    recorded.step.settings["optimizer: novelty"] = 3  # of another version of Keras
    report = compare_outputs(network(optimizer=sgd()), X, recorded, y=Y)
    assert report.ok
    assert report.step.unread == ["optimizer: novelty: not set here, 3 there"]
