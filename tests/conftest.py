"""Options, marks and virtual devices of all tests.

Tests run under torch, which compiles nothing, and those marked with `every_backend` under JAX and TensorFlow too.
Those marked with `release_backends` do so only where `KERAS_INITX_TESTS` is `all`, as in sessions before a release, and
those marked with `rare` run at all only then.
"""

import gc
import importlib.util
import os
import random

import numpy as np
import pytest
from array_files import BIAS, KERNEL
from hypothesis import HealthCheck, settings

settings.register_profile("ordinary", max_examples=5, deadline=None, derandomize=True)
# New cases in each run of `nox -s fuzz`; `--hypothesis-seed` repeats those of one.
settings.register_profile(
    "fuzz",
    max_examples=1000,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ordinary")


def pytest_configure(config):
    # The controller of pytest-xdist runs no test, and would import a backend for nothing.
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        return
    # JAX compiles in a third of the time, but for the tests that ask for `optimized` programs.
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    random.seed(0)  # from which parameters of tests that have no seed draw one
    _cut_the_processor()
    _seed_what_is_there()
    _multiply_in_float32()


def _cut_the_processor():
    """Make several devices before a backend looks at it. One of them is used unless a test asks for more."""
    if _backend() == "jax":
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    if _backend() == "tensorflow":
        import tensorflow as tf

        virtual = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], virtual)


def _seed_what_is_there():
    """Let torch seed no accelerator that is missing: it would keep each seed with a trace of the stack."""
    if _backend() == "torch":
        import torch

        for kind in (torch.cuda, torch.xpu, torch.mtia):
            if not kind.is_available():
                kind.manual_seed_all = lambda seed: None


def _multiply_in_float32():
    """Let JAX round products on a GPU as on a CPU, where it has rounded factors to fewer bits; torch does by itself."""
    if _backend() == "jax":
        import jax

        if jax.default_backend() != "cpu":
            jax.config.update("jax_default_matmul_precision", "highest")


def _backend():
    import keras

    return keras.backend.backend()


ARE_ALL_WANTED = os.environ.get("KERAS_INITX_TESTS") == "all"
# What is in the text of a file that has tests for other backends than torch.
MARKING = ("every_backend", "everywhere(", *(["release_backends"] if ARE_ALL_WANTED else []))


def pytest_ignore_collect(collection_path):
    """Import no file that has no test for the backend."""
    if _backend() == "torch" or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text()
    return True if not any(mark in text for mark in MARKING) else None


def _is_wanted(item):
    marks = {mark.name for mark in item.iter_markers()}
    if "rare" in marks and not ARE_ALL_WANTED:
        return False
    if _backend() == "torch" or "every_backend" in marks:
        return True
    return "release_backends" in marks and ARE_ALL_WANTED


def pytest_collection_modifyitems(config, items):
    is_wanted = {item: _is_wanted(item) for item in items}
    config.hook.pytest_deselected(items=[item for item in items if not is_wanted[item]])
    items[:] = [item for item in items if is_wanted[item]]


def pytest_collection_finish():
    """Keep the modules out of later collections of garbage: those of a contract, and of tests of memory."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _former_modules_are_frozen():
    """Keep what former modules hold out of collections of garbage, which would take longer with each module."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded():
    """Draw the seeds that a test leaves out in the same way each time."""
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture
def shared_memory():
    """Skip the test where NumPy does not share the memory of tensors: on an accelerator."""
    from keras_initx.backends._current import backend

    if backend.on_accelerator():
        pytest.skip("NumPy shares the memory of tensors of the host only")


@pytest.fixture
def way(monkeypatch):
    """Force values to be made on the device, in blocks so small that there are several, and return how.

    JAX and TensorFlow have programs for that. On torch it is the kernel in Triton's interpreter with
    `TRITON_INTERPRET=1` in the environment of the whole process, as in a run of its own of `nox -s device`;
    without it torch carries out plain operations.
    """
    from keras_initx.backends._current import backend

    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", "device")
    monkeypatch.setattr(backend, "block", 1000)
    if _backend() != "torch":
        return "program"
    is_interpreted = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None
    return "kernel" if is_interpreted else "operations"


@pytest.fixture
def compilations(monkeypatch):
    """Return a list that grows as JAX compiles, in a process that has kept no programs."""
    import jax

    from keras_initx.backends import _jax

    found = []

    def listen(event, seconds, **information):
        if event.endswith("backend_compile_duration"):
            found.append(event)

    monkeypatch.setattr(_jax, "_PROGRAMS", {})
    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.clear_event_listeners()


@pytest.fixture(scope="module")
def optimized():
    """Let JAX compile as users do: for tests of the last bit of what is compiled."""
    if _backend() != "jax":
        yield
        return
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def kernel_file(tmp_path):
    path = tmp_path / "kernel.npy"
    np.save(path, KERNEL)
    return path


@pytest.fixture
def arrays_file(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, kernel=KERNEL, other_kernel=KERNEL + 1, bias=BIAS, steps=np.arange(3))
    return path
