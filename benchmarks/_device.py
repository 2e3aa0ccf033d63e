"""The device of a benchmark: its name, synchronization, memory, and peak rates.

No framework is imported until a function is called, because backends look for devices at import and
`select` must run before.
"""

import contextlib
import ctypes
import gc
import importlib.metadata
import importlib.util
import os
import platform
import re
import time
from pathlib import Path

_PACKAGES = ("keras", "numpy", "jax", "tensorflow", "tensorflow-cpu", "torch")
_STATUS = Path("/proc/self/status")
_RATE_REPEATS = 7
_PREPARED = 1 << 30  # bytes, more than a first call or a build takes
# For each synchronization, or a GPU would wait for the dispatch of a fill as long as for the fill.
_FILLS = 20


def select(device):
    """Set the environment variables that backends read at import, also for child processes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if device == "cpu":
        os.environ.update(CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu")
    else:  # Two frameworks share the accelerator.
        os.environ.update(XLA_PYTHON_CLIENT_PREALLOCATE="false", TF_FORCE_GPU_ALLOW_GROWTH="true")


def environment(device):
    """Return the environment of the measurements; `"device"` is `None` if there is none."""
    import keras

    import keras_initx

    backend = keras.backend.backend()
    versions = {"python": platform.python_version(), "keras_initx": keras_initx.__version__}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "backend": backend,
        "device": _cpu_name() if device == "cpu" else _gpu_name(backend),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions,
    }


def _cpu_name():
    with contextlib.suppress(OSError):
        if found := re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()):
            return found[1]
    return platform.processor() or platform.machine()


def _gpu_name(backend):
    if backend == "jax":
        import jax

        return jax.devices()[0].device_kind if jax.default_backend() == "gpu" else None
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        return (
            tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
            if gpus
            else None
        )
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def prepare():
    """Open the device of Keras, and have the memory that first calls and builds take.

    A virtual machine gives memory that was free for seconds back to its host. To get it again takes
    ten times as long as all else in a first call, and hits pages of 2 MiB harder than those of 4
    KiB. So this touches some and frees it.
    """
    import keras
    import numpy as np

    synchronize(keras.ops.convert_to_tensor([0.0]))
    np.ones(_PREPARED, "uint8")


def has_torch():
    """Return whether torch is installed. Its initializers are compared with on every backend."""
    return importlib.util.find_spec("torch") is not None


def synchronize(tensor):
    """Wait until `tensor`, of any framework, is computed."""
    framework = type(tensor).__module__.partition(".")[0]
    if framework == "torch":
        if tensor.is_cuda:
            import torch

            torch.cuda.synchronize()
    elif framework == "tensorflow":
        import tensorflow as tf

        tf.test.experimental.sync_devices()
    else:
        tensor.block_until_ready()


def peak_growth(make, framework, device):
    """Return the peak memory growth of `make()` in bytes, or `None` if it is not available."""
    gc.collect()
    if device == "cpu":
        return _peak_growth_of_process(make)
    if framework == "jax":
        import jax

        # This peak never decreases, so it is valid only if nothing larger ran before in this
        # process.
        before = jax.devices()[0].memory_stats()["bytes_in_use"]
        synchronize(make())
        return jax.devices()[0].memory_stats()["peak_bytes_in_use"] - before
    if framework == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.reset_memory_stats("GPU:0")
        before = tf.config.experimental.get_memory_info("GPU:0")["current"]
        synchronize(make())
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] - before
    import torch

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    synchronize(make())
    return torch.cuda.max_memory_allocated() - before


def _peak_growth_of_process(make):
    if not _STATUS.exists():
        return None
    trim()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current use
    before = resident("VmRSS")
    synchronize(make())
    return resident("VmHWM") - before


def trim():
    """Return free memory that this process still holds to the system: it would hide growth."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident(field):
    """Return the bytes that the system counts under `field` for this process."""
    return int(re.search(rf"{field}:\s*(\d+) kB", _STATUS.read_text())[1]) * 1024


def rates(device):
    """Return the peak rates of the device.

    Call it in a process of its own, which gives back the device's memory.
    """
    return {"write_bytes_per_s": _write_rate(device), "product_flops_per_s": _product_rate(device)}


def _write_rate(device):
    """Return the measured write bandwidth in bytes per second."""
    import keras
    import numpy as np

    size = 1 << 26
    # Reuse touched memory, because the first touch of a page costs more than writing.
    if device == "cpu":
        array = np.zeros(size, "float32")
        return array.nbytes / _best(lambda: array.fill(1.5))
    return (
        _FILLS
        * 4
        * size
        / _best(lambda: synchronize([keras.ops.full((size,), 1.5) for _ in range(_FILLS)][-1]))
    )


def _product_rate(device):
    """Return the measured rate of float32 matrix products, in operations per s.

    In full precision, as in the frames.
    """
    import keras

    from keras_initx.backends import backend

    size = 2048 if device == "cpu" else 8192
    matrix = keras.ops.full((size, size), 1.5)
    with backend.full_precision():
        return 2 * size**3 / _best(lambda: synchronize(keras.ops.matmul(matrix, matrix)))


def _best(function):
    times = []
    for _ in range(_RATE_REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
