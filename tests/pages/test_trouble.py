"""Each heading of the page on trouble is the text of an error, or of a warning, that a user meets."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from modes import needs_keras, until_keras

import keras_initx
from keras_initx import _compiled_kernel, _extras
from keras_initx.backends import _current

WITHOUT_TENSORFLOW = pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="it is installed")
PAGE = pathlib.Path(__file__).parents[2].joinpath("docs", "trouble.md").read_text()
HEADINGS = re.findall(r"^### (.*)$", PAGE, re.MULTILINE)
X = np.zeros((4, 3), "float32")


def model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


def load_without_the_package():
    config = keras.saving.serialize_keras_object(keras.layers.Dense(3, kernel_initializer="initx.sparse"))
    # As where no class of this name is registered.
    config["config"]["kernel_initializer"] |= {"module": "lost", "class_name": "Lost", "registered_name": "initx>Lost"}
    keras.saving.deserialize_keras_object(config)


@pytest.mark.parametrize(
    ("heading", "program"),
    [
        ("got an unexpected keyword argument 'mode'", lambda: keras_initx.HeNormal(mode="fan_out")),
        ("module 'keras_initx' has no attribute", lambda: keras_initx.KaimingNormal),
        ("Could not interpret initializer identifier: initx.", lambda: keras.initializers.get("initx.sprase")),
        ("Each of `rules` must match a weight", lambda: keras_initx.initialize(model(), {"kernels": "zeros"})),
        (
            "`model` must be built",
            lambda: keras_initx.initialize(keras.Sequential([keras.layers.Dense(2)]), {"*": "zeros"}),
        ),
        ("`loss` is required with `y`", lambda: keras_initx.diagnose(model(), X, X[:, :2])),
        ("could not be deserialized properly", load_without_the_package),
    ],
)
def test_a_heading_is_in_the_text_of_the_error(heading, program):
    assert heading in HEADINGS
    with pytest.raises((AttributeError, TypeError, ValueError), match=re.escape(heading)):
        program()


@pytest.mark.parametrize(
    ("heading", "chosen", "module"),
    [
        pytest.param("No module named 'tensorflow'", None, "keras", marks=WITHOUT_TENSORFLOW),
        pytest.param(
            "KERAS_BACKEND is 'tensorflow', which is not installed",
            "tensorflow",
            "keras_initx",
            marks=WITHOUT_TENSORFLOW,
        ),
        pytest.param(
            "Unable to import backend", "pytorch", "keras_initx", marks=until_keras("3.16", "say something else")
        ),
        pytest.param("Unsupported backend", "pytorch", "keras_initx", marks=needs_keras("3.16", "says this")),
    ],
)
def test_a_heading_is_in_the_text_of_the_error_of_an_import(heading, chosen, module, tmp_path):
    assert heading in HEADINGS
    environment = {**os.environ, "KERAS_HOME": str(tmp_path)}  # where Keras finds no configuration
    environment.pop("KERAS_BACKEND", None)
    if chosen:
        environment["KERAS_BACKEND"] = chosen
    result = subprocess.run([sys.executable, "-c", f"import {module}"], env=environment, capture_output=True, text=True)
    assert heading in result.stderr


def test_a_heading_is_in_the_text_about_a_missing_package():
    assert "matplotlib not found; install with" in HEADINGS
    assert _extras.advice("matplotlib", "plot").startswith("matplotlib not found; install with")


def test_a_heading_is_in_the_warning_about_another_backend(monkeypatch):
    assert "keras_initx is not tested with Keras' backend" in HEADINGS
    monkeypatch.setattr(keras.backend, "backend", lambda: "mlx")
    with pytest.warns(UserWarning, match="keras_initx is not tested with Keras' backend 'mlx'"):
        _current._current_backend()


def test_a_heading_is_in_the_warning_about_the_kernel(monkeypatch):
    assert "NumPy draws instead of the compiled kernel" in HEADINGS
    monkeypatch.setattr(_compiled_kernel, "LIBRARY", pathlib.Path("missing"))
    monkeypatch.setattr(_compiled_kernel, "_TOLD", [])
    monkeypatch.setattr(_compiled_kernel, "load_library", lambda: None)
    monkeypatch.delenv("KERAS_INITX_KERNEL", raising=False)
    with pytest.warns(UserWarning, match="NumPy draws instead of the compiled kernel"):
        _compiled_kernel.warn_if_missing(1 << 30)


def test_frozen_layers_are_kept_by_the_rule_that_the_page_names():
    backbone = keras.layers.Dense(8, "relu", name="backbone", trainable=False)
    network = keras.Sequential([keras.Input((4,)), backbone, keras.layers.Dense(2)])
    kept = keras.ops.convert_to_numpy(backbone.kernel).copy()
    keras_initx.initialize(network, {"backbone/*": None, "*kernel": "initx.he_normal"}, seed=0)
    assert np.array_equal(keras.ops.convert_to_numpy(backbone.kernel), kept)


class WithArray(keras.initializers.Initializer):
    """Has an array that its config lacks."""

    def __init__(self, array=None):
        self.array = array

    def __call__(self, shape, dtype=None):
        return keras.ops.convert_to_tensor(np.asarray(self.array))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="each backend has an error of its own")
def test_a_heading_is_in_the_error_of_an_initializer_without_its_array(tmp_path):
    assert "Invalid dtype: object" in HEADINGS
    layer = keras.layers.Dense(2, kernel_initializer=WithArray(np.zeros((3, 2))))
    keras.Sequential([keras.Input((3,)), layer]).save(path := tmp_path / "a.keras")
    with pytest.raises(ValueError, match="Invalid dtype: object"):
        keras.saving.load_model(path, custom_objects={"WithArray": WithArray})
