"""A module of torch is recorded, and compared with its port, where Keras has another backend than torch."""

import keras
import numpy as np
import pytest

import keras_initx

torch = pytest.importorskip("torch")
from torch_ports import PORTS, Port, equal_epsilon  # noqa: E402

pytestmark = pytest.mark.every_backend


@pytest.mark.parametrize("name", PORTS)
def test_a_port_is_compared_with_its_module(name):
    port = Port(name)
    port.model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    training = {
        "loss": torch.nn.functional.mse_loss,
        "optimizer": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9),
    }
    inputs = {"model": port.x, "module": port.x_of_module}
    report = keras_initx.port_report(port.model, port.module, inputs, port.y, **training)
    assert (report["weights"].answer, report["outputs"].answer) == ("equal", "equal")
    start = "The port is equal: weights, outputs, first step."
    if name in ("convolution", "lstm"):
        start = "The port differs: in the first step by nothing but known causes: "
    assert report.verdict.startswith(start)
    assert keras.backend.backend() in report.model.environment.versions
    assert report.module.environment.versions == {"torch": torch.__version__}


@pytest.mark.parametrize("name", ["dense", "block", "embedded"])
def test_so_is_a_step_of_adam(name):
    port = Port(name)
    port.model.compile(keras.optimizers.Adam(1e-3), "mse")
    report = keras_initx.port_report(
        port.model,
        port.module,
        port.x,
        port.y,
        loss=torch.nn.functional.mse_loss,
        optimizer=lambda parameters: torch.optim.Adam(parameters, 1e-3, eps=equal_epsilon()),
    )
    if name == "embedded" and keras.backend.backend() == "tensorflow":
        assert "known causes: Keras on TensorFlow gives the optimizer a gradient for each use" in report.verdict
        assert report.outputs.step.explained == {"emb/embeddings"}
    else:
        assert report.ok, str(report)


def test_a_module_may_be_recorded_elsewhere(tmp_path):
    port = Port("dense")
    port.model.compile(keras.optimizers.SGD(0.1), "mse")
    recorded = port.recorded(lambda parameters: torch.optim.SGD(parameters, 0.1))
    recorded.save(tmp_path / "outputs.npz")
    report = keras_initx.compare_outputs(port.model, port.x, tmp_path / "outputs.npz", y=port.y)
    assert report.ok, str(report)
    assert f"there with torch {torch.__version__}, cpu" in report.to_markdown().replace("\\", "")


def test_tensors_of_keras_are_inputs_of_a_module():
    port = Port("dense")
    x = keras.ops.convert_to_tensor(port.x)
    assert keras_initx.port_report(port.model, port.module, x).ok


def test_a_fault_is_named():
    port = Port("block")
    port.model.get_layer("norm2").epsilon = 1e-2
    report = keras_initx.port_report(port.model, port.module, np.asarray(port.x))
    assert "beginning with norm2 (epsilon: 0.01 here, 1e-05 there)" in report.verdict
