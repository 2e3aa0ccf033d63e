"""The report on a port says whether it trains as its module does, and if not, why."""

import keras
import numpy as np
import pytest

import keras_initx

torch = pytest.importorskip("torch")
from torch_ports import OPTIMIZERS, PORTS, Port  # noqa: E402

rare = pytest.mark.rare

# What is different in the first step of a module with any optimizer.
OF_MODULES = {
    "lstm": "the weight is the sum of 2 arrays there, and each is trained, so it moves 2 times as far (",
    "convolution": "torch moves a variance to n / (n - 1) times the variance of the batch, with n = 200, ",
}
OFTEN = [("dense", "SGD"), ("convolution", "Adam"), ("lstm", "AdamW"), ("embedded", "Adam"), ("block", "RMSprop")]
CASES = []
for case in [(name, optimizer) for name in PORTS for optimizer in OPTIMIZERS]:
    CASES.append(pytest.param(*case, marks=() if case in OFTEN else rare, id="-".join(case)))


def report_on(port, *, loss=torch.nn.functional.mse_loss, optimizer=None, y=None):
    inputs = {"model": port.x, "module": port.x_of_module}
    return keras_initx.port_report(
        port.model, port.module, inputs, port.y if y is None else y, loss=loss, optimizer=optimizer
    )


@pytest.mark.parametrize(("name", "optimizer"), CASES)
def test_a_step_is_equal_or_the_first_line_has_the_known_causes(name, optimizer):
    port = Port(name)
    here, there, cause = OPTIMIZERS[optimizer]
    port.model.compile(here(), "mse")
    report = report_on(port, optimizer=there)
    assert (report["weights"].answer, report["outputs"].answer) == ("equal", "equal")
    expected = [text for text in (cause, OF_MODULES.get(name)) if text]
    if not expected:
        assert report.verdict == "The port is equal: weights, outputs, first step."
        return
    assert not report.ok
    assert report["first step"].answer == "differs"
    start = "The port differs: in the first step by nothing but known causes: "
    assert report.verdict.startswith(start)
    first, *_ = report.to_markdown().replace("\\", "").splitlines()
    for cause in expected:
        assert cause in first
    # What is equal at this step alone is no cause of a difference.
    assert first.count("; ") == len(expected) - 1
    assert "Remedy" not in first


def freeze(port):
    port.model.layers[0].trainable = False


# What is wrong with the training of a port, and what the Markdown says.
FAULTS = [
    pytest.param(
        {"loss": lambda outputs, y: ((outputs - y) ** 2).sum()},
        None,
        "1/24 of that there, the number of values in ",
        id="loss",
    ),
    pytest.param({"rate": 0.2}, None, "learning_rate is 0.1 here and 0.2 there (fc2/kernel", id="rate"),
    pytest.param({}, freeze, "fc1/kernel: gradient: trained there only", id="frozen"),
    pytest.param({"nesterov": True}, None, "optimizer: nesterov: False here, True there", marks=rare, id="nesterov"),
]


@pytest.mark.parametrize(("options", "plant", "said"), FAULTS)
def test_a_fault_of_training_is_named(options, plant, said):
    port = Port("dense")
    if plant is not None:
        plant(port)
    port.model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    loss = options.get("loss", torch.nn.functional.mse_loss)

    def optimizer(parameters):
        rate, nesterov = options.get("rate", 0.1), options.get("nesterov", False)
        return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=nesterov)

    report = report_on(port, loss=loss, optimizer=optimizer)
    assert not report.ok
    assert report["outputs"].answer == "equal"
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
        optimizer=lambda parameters: torch.optim.SGD(parameters, 0.01),
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
    port.module = torch.nn.Sequential(port.module, torch.nn.Dropout(0.5))
    port.model.compile("sgd", "mse")
    report = keras_initx.port_report(
        port.model,
        port.module,
        port.x,
        port.y,
        names={"fc*": "0.fc{0}"},
        loss=torch.nn.functional.mse_loss,
    )
    assert report["first step"].answer == "not compared"
    assert report.verdict.startswith(
        "The port is not known to be equal: the first step was not compared: the module draws"
    )
    assert np.isfinite(report.agreements[0].largest_difference)
