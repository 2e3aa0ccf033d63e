"""With which versions and on which devices a model computes."""

import keras
import pytest
from keras import layers
from modes import BACKEND

from keras_initx.inspection._environment import Environment, read_environment


@pytest.mark.every_backend
def test_a_model_of_keras_has_the_versions_of_keras_and_its_backend_and_the_devices_of_its_weights():
    environment = read_environment(keras.Sequential([keras.Input((3,)), layers.Dense(2)]))
    assert list(environment.versions) == ["keras", BACKEND]
    assert environment.versions["keras"] == keras.__version__
    assert environment.devices[0].startswith(("cpu", "cuda", "gpu"))
    assert str(environment).startswith(f"keras {keras.__version__}, {BACKEND} ")


def test_a_module_of_torch_has_the_version_of_torch_also_on_another_backend():
    torch = pytest.importorskip("torch")
    environment = read_environment(torch.nn.Linear(3, 2))
    assert environment == Environment({"torch": torch.__version__}, ("cpu",))
    assert read_environment(torch.nn.Linear(3, 2, device="meta")).devices == ("meta",)


def test_a_model_without_weights_has_no_devices():
    environment = read_environment(keras.Sequential([keras.Input((3,)), layers.ReLU()]))
    assert environment.devices == ()
