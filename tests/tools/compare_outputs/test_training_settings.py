"""The settings of loss and optimizer are the same in all their forms."""

import keras
import pytest
from first_steps import network

from keras_initx.tools.compare_outputs._training_settings import training_settings

MEAN_SQUARED = {"loss": "mean_squared_error", "loss: reduction": "sum_over_batch_size"}


def of_loss(loss, **kwargs):
    return {key: value for key, value in training_settings(network(loss=loss, **kwargs)).items() if "loss" in key[:4]}


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
    assert training_settings(network(loss_weights=0.5))["weight of the loss"] == 0.5


def test_an_optimizer_has_its_config():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9)
    found = training_settings(network(optimizer=keras.optimizers.SGD(schedule, momentum=0.5)))
    assert found["optimizer"] == "SGD"
    assert found["optimizer: momentum"] == 0.5
    assert found["optimizer: learning_rate/config/initial_learning_rate"] == 0.1
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5))
    found = training_settings(network(optimizer=scaled))
    assert found["optimizer: scales the loss"] is True
    assert found["optimizer: learning_rate"] == 0.5


def test_a_config_that_fails_is_left_out():
    class Odd(keras.optimizers.SGD):
        def get_config(self):
            raise RuntimeError

    assert training_settings(network(optimizer=Odd()))["optimizer"] == "Odd"
