"""The report on a port says whether it trains as its module does, and if not, why."""

import keras
import numpy as np
import pytest
from modes import often

import keras_initx

torch = pytest.importorskip("torch")
from torch_ports import PORTS, Port  # noqa: E402


def report_on(port, *, loss=torch.nn.functional.mse_loss):
    inputs = {"model": port.x, "module": port.x_of_module}
    return keras_initx.port_report(port.model, port.module, inputs, port.y, loss=loss)


@pytest.mark.parametrize("name", often(PORTS, ["dense", "convolution", "lstm"]))
def test_a_right_port_is_equal_whatever_its_optimizer_is(name):
    port = Port(name)
    port.model.compile(keras.optimizers.RMSprop(0.1), "mse")
    report = report_on(port)
    assert report.ok, str(report)
    answer, verdict = "equal", "The port is equal: weights, outputs, loss and gradients."
    if name == "convolution":
        answer = "explained"
        verdict = (
            "The port is equal but for what the frameworks do differently: torch divides the variance of a batch by "
            "n - 1, and Keras by n, with n = 200 (bn/moving_variance)."
        )
    assert (report["loss and gradients"].status, report.summary) == (answer, verdict)
    assert len(str(report).splitlines()) <= 10
    last = " ".join(str(report).splitlines()[-3:])
    assert "The optimizers were not compared." in last
    assert last.endswith("docs/first_step.md#what-optimizers-of-torch-do-differently")


def test_a_wrong_momentum_is_named():
    port = Port("convolution")
    port.model.get_layer("bn").momentum = 0.99
    port.model.compile("sgd", "mse")
    report = report_on(port)
    assert not report.ok
    assert report.summary.startswith("The port differs: in the first step, bn/moving_mean: update: 1/10 of those there")
    assert report.summary.endswith("; in training these differ: momentum: 0.99 here, 0.9 there (bn).")


def freeze(port):
    port.model.layers[0].trainable = False


def of_sum(outputs, y):
    return ((outputs - y) ** 2).sum()


# What is wrong with the training of a port, and what the Markdown says.
FAULTS = [
    pytest.param(of_sum, None, "1/24 of that there, the number of values in ", id="loss"),
    pytest.param(torch.nn.functional.mse_loss, freeze, "fc1/kernel: gradient: trained there only", id="frozen"),
]


@pytest.mark.parametrize(("loss", "plant", "said"), FAULTS)
def test_a_fault_of_training_is_named(loss, plant, said):
    port = Port("dense")
    if plant is not None:
        plant(port)
    port.model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    report = report_on(port, loss=loss)
    assert not report.ok
    assert report["outputs"].status == "equal"
    text = report.to_markdown().replace("\\", "")
    assert text.startswith("**The port differs: in the first step")
    assert said in text, text


def test_the_arrays_of_numpy_in_float64_are_those_of_keras_in_float32():
    port = Port("dense")
    port.model.compile("sgd", "mse")
    report = keras_initx.port_report(
        port.model,
        port.module,
        port.x.astype("float64"),
        port.y.astype("float64"),
        loss=torch.nn.functional.mse_loss,
    )
    assert report.ok, str(report)
    # A module in float64 gets them as they are.
    recorded = keras_initx.record_outputs(port.module.double(), port.x.astype("float64"))
    assert {row.dtype for row in recorded.rows} == {"float64"}


def test_a_port_is_called_once(monkeypatch):
    port = Port("dense")
    called = []
    call = port.model.call

    def count(x, *args, **kwargs):
        called.append(x)
        return call(x, *args, **kwargs)

    monkeypatch.setattr(port.model, "call", count)
    report = keras_initx.port_report(port.model, port.module, port.x)
    assert report.ok
    assert len(report.agreements) == 1
    assert [keras.ops.is_tensor(x) for x in called if not isinstance(x, keras.KerasTensor)] == [True]


def test_a_module_that_draws_is_not_compared():
    port = Port("dense")
    port.module = torch.nn.Sequential(port.module, torch.nn.RReLU(0.9, 1.1))  # the identity in inference
    port.model.compile("sgd", "mse")
    report = keras_initx.port_report(
        port.model,
        port.module,
        port.x,
        port.y,
        names={"fc*": "0.fc{0}"},
        loss=torch.nn.functional.mse_loss,
    )
    assert report["loss and gradients"].status == "not compared"
    assert report.summary.startswith(
        "The port is not known to be equal: the first step was not compared: the module draws"
    )
    assert np.isfinite(report.agreements[0].largest_difference)


@pytest.mark.parametrize("name", ["drop", "dropout"])
def test_a_step_without_dropout_is_said_to_be_one_and_its_rates_are_compared(name):
    """By their names, or whatever the layers are called."""
    module = torch.nn.Sequential()
    module.add_module("fc", torch.nn.Linear(6, 3))
    module.add_module("drop", torch.nn.Dropout(0.5))
    port = Port("dense")
    verdicts = []
    for rate in (0.5, 0.3):
        parts = [keras.layers.Dense(3, name="fc"), keras.layers.Dropout(rate, name=name)]
        port.model = keras.Sequential([keras.Input((6,)), *parts], name="net")
        keras_initx.load_pretrained(port.model, module.state_dict(), layout="torch")
        port.model.compile("sgd", "mse")
        port.module = module
        verdicts.append(report_on(port).summary)
    right = "The port is equal: weights, outputs, loss and gradients; dropout was off"
    assert verdicts[0] == f"{right}."
    names = "drop" if name == "drop" else "dropout and drop"
    assert verdicts[1] == f"The port differs: in later steps, rate: 0.3 here, 0.5 there ({names}); dropout was off."
