"""A module of torch is recorded, and compared with its port, where Keras has another backend than torch."""

import keras
import numpy as np
import pytest

import keras_initx

torch = pytest.importorskip("torch")
from torch_ports import PORTS, Port  # noqa: E402

pytestmark = pytest.mark.every_backend


@pytest.mark.parametrize("name", PORTS)
def test_a_port_is_compared_with_its_module(name):
    port = Port(name)
    port.model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    inputs = {"model": port.x, "module": port.x_of_module}
    report = keras_initx.port_report(port.model, port.module, inputs, port.y, loss=torch.nn.functional.mse_loss)
    assert (report["weights"].status, report["outputs"].status) == ("equal", "equal")
    assert report.ok, str(report)
    start = "The port is equal: weights, outputs, loss and gradients."
    if name == "convolution":
        start = "The port is equal but for what the frameworks do differently: "
    assert report.summary.startswith(start)
    assert keras.backend.backend() in report.model.environment.versions
    assert report.module.environment.versions == {"torch": torch.__version__}


def test_a_module_may_be_recorded_elsewhere(tmp_path):
    port = Port("dense")
    port.model.compile(keras.optimizers.SGD(0.1), "mse")
    recorded = port.recorded()
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
    assert "beginning with norm2 (epsilon: 0.01 here, 1e-05 there)" in report.summary
