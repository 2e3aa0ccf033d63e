"""The ways to run an initializer on the backend at hand: eagerly and compiled."""

import contextlib
import functools

import keras
import numpy as np
import pytest

from keras_initx._compiled_kernel import load_library
from keras_initx.backends._current import backend

BACKEND = keras.backend.backend()


def _modes_of_torch():
    import torch

    # Older versions cannot construct an initializer inside of a compiled function, as the tests do.
    compiles = torch.__version__ >= "2.13"
    # Dynamo leaves initializers alone, so "ops" shows what they do in operations of torch.
    return ("eager", "compile", "ops") if compiles else ("eager", "ops")


MODES = {
    "jax": lambda: ("eager", "jit"),
    "tensorflow": lambda: ("eager", "function", "jit_compile"),
    "torch": _modes_of_torch,
}.get(BACKEND, lambda: ("eager",))()
# Golden values are compiled by XLA, so draws alone are in functions of TensorFlow.
STREAM_MODES = tuple(mode for mode in MODES if mode not in ("compile", "jit_compile"))


def everywhere(values, chosen, *, others=()):
    """Return `values` as parameters of tests, of which those `chosen` run on every backend; all others have marks."""
    parameters = []
    for value in values:
        marks = [pytest.mark.every_backend] if value in chosen else others
        parameters.append(pytest.param(value, marks=marks))
    return parameters


def often(values, chosen, every_backend=None):
    """Return `values` as parameters of tests, of which those `chosen` always run, and others before a release.

    With `every_backend` those in it do so on every backend, and others on torch, and elsewhere before a release.
    """
    parameters = []
    for value in values:
        marks = [] if value in chosen else [pytest.mark.rare]
        if every_backend is not None:
            marks.append(pytest.mark.every_backend if value in every_backend else pytest.mark.release_backends)
        parameters.append(pytest.param(value, marks=marks))
    return parameters


def _is_older_than(version):
    here, there = (tuple(map(int, number.split(".")[:2])) for number in (keras.__version__, version))
    return here < there


def needs_keras(version, what):
    """Return a mark that skips a test where Keras is older than `version`, the first that does `what`."""
    reason = f"Keras {keras.__version__} is older than {version}, which {what}"
    return pytest.mark.skipif(_is_older_than(version), reason=reason)


def until_keras(version, what):
    """Return a mark that skips a test where Keras is not older than `version`, the first that does `what`."""
    return pytest.mark.skipif(not _is_older_than(version), reason=f"Keras {version} and later {what}")


needs_axes = needs_keras("3.15", "tells initializers the axes of a kernel")
needs_int4 = needs_keras("3.11", "has int4")


def run(mode, function):
    """Call `function` in `mode` and return its result as an array."""
    return to_numpy(_wrappers()[mode](function)())


def to_numpy(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor), order="C")


def float64():
    """Return a context in which the backend has float64."""
    if BACKEND == "jax":
        import jax

        if hasattr(jax, "enable_x64"):
            return jax.enable_x64(True)
        from jax.experimental import enable_x64  # its place before JAX 0.8

        return enable_x64()
    return contextlib.nullcontext()


@contextlib.contextmanager
def by_numpy():
    """Return a context in which NumPy draws on the host, without the compiled kernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_INITX_KERNEL", "0")
        load_library.cache_clear()
        yield
    load_library.cache_clear()


def _wrappers():
    if BACKEND == "jax":
        import jax

        return {"eager": _as_is, "jit": jax.jit}
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return {
            "eager": _as_is,
            "function": tf.function,
            "jit_compile": lambda function: tf.function(function, jit_compile=True),
        }
    if BACKEND == "torch":
        import torch

        return {"eager": _as_is, "compile": functools.partial(torch.compile, backend="eager"), "ops": _in_ops}
    return {"eager": _as_is}


def _as_is(function):
    return function


def _in_ops(function):
    """Make `function` believe that it is being traced, so that it computes in `keras.ops`."""

    def call():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend, "is_tracing", lambda: True)
            return function()

    return call
