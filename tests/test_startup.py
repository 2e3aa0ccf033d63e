"""Without a word from the user, Keras starts with a backend that is installed, and the command line without Keras."""

import importlib.util
import json
import os
import pathlib
import sys

import keras
import pytest

import keras_initx
from keras_initx import _startup
from keras_initx.backends import _current
from keras_initx.backends._backend import Backend


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Return a function that asks for a backend as a new process would, with some backends installed."""
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def choose(*installed):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in installed else None)
        _startup.use_installed_backend()
        return os.environ["KERAS_BACKEND"]

    return choose


@pytest.mark.parametrize(
    ("installed", "backend"),
    [
        (("jax",), "jax"),
        (("torch",), "torch"),
        (("torch", "jax"), "jax"),
        (("tensorflow",), ""),
        (("jax", "tensorflow", "torch"), ""),
    ],
)
def test_another_backend_is_used_only_in_place_of_a_missing_tensorflow(fresh, installed, backend):
    assert fresh(*installed) == backend


def test_a_configuration_that_says_tensorflow_is_keras_own_default(fresh, tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "tensorflow"}))
    assert fresh("torch") == "torch"


def test_any_other_configuration_is_left_alone(fresh, tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    assert fresh("jax") == ""


def test_a_configuration_in_the_home_folder_is_found(fresh, tmp_path, monkeypatch):
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps({"backend": "torch"}))
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert fresh("jax") == ""


def test_a_broken_configuration_counts_as_none(fresh, tmp_path):
    (tmp_path / "keras.json").write_text("{")
    assert fresh("jax") == "jax"


def test_the_environment_is_left_alone(fresh, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert fresh("jax", "tensorflow") == "tensorflow"


def test_a_backend_that_is_not_installed_is_an_error_that_names_those_that_are(fresh, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(ImportError, match=r"`pip install tensorflow`, or set another\. Installed: jax, torch\."):
        fresh("torch", "jax")


def test_a_backend_of_another_name_is_left_to_keras(fresh, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "mlx")
    assert fresh("torch") == "mlx"


@pytest.mark.parametrize("name", ["mlx", "openvino"])
def test_a_backend_that_is_not_tested_is_told_and_makes_weights_on_the_host(monkeypatch, name):
    monkeypatch.setattr(keras.backend, "backend", lambda: name)
    with pytest.warns(UserWarning, match=rf"is not tested with Keras' backend '{name}', only with \('jax'") as found:
        chosen = _current._current_backend()
    assert len(found) == 1
    assert type(chosen) is Backend
    assert not chosen.on_accelerator()
    assert not chosen.is_tracing()


def test_nothing_is_told_of_the_numpy_backend(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    assert type(_current._current_backend()) is Backend


def test_keras_that_is_already_there_is_left_alone(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    assert fresh("jax") == ""


def test_no_backend_at_all_is_an_error_that_names_the_remedy(fresh):
    with pytest.raises(ImportError, match="install one, such as JAX with `pip install jax`"):
        fresh()


@pytest.mark.parametrize(
    ("arguments", "command", "starts"),
    [
        (["-m"], "python -m keras_initx", True),
        (["-m", "show", "sparse"], "python -X dev -m keras_initx show sparse", True),
        # Another package, which imports this one, with or without an argument of this name.
        (["-m"], "python -m other", False),
        (["-m", "keras_initx"], "python -m other keras_initx", False),
        (["train.py", "keras_initx"], "python train.py keras_initx", False),
        ([""], "python", False),
        ([], "python", False),
    ],
)
def test_only_the_package_given_by_m_is_the_command_line(monkeypatch, arguments, command, starts):
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(sys, "orig_argv", command.split())
    assert _startup.is_starting() is starts


def test_the_command_line_gets_every_name_on_first_use(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/initx", "list"])
    namespace = {"__name__": "keras_initx"}
    exec(pathlib.Path(keras_initx.__file__).read_text(), namespace)
    assert not namespace.keys() & {"HeNormal", "initializers"}
    find = namespace["__getattr__"]
    names = set(keras_initx.__all__) - {"__version__"}
    assert all(find(name) is getattr(keras_initx, name) for name in names)
    with pytest.raises(
        AttributeError, match="module 'keras_initx' has no attribute 'HeNormall'; did you mean HeNormal"
    ):
        find("HeNormall")
