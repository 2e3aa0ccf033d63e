"""The device of a benchmark: what it is, and how to open it and wait for it.

No framework is imported until a function is called, because backends look for devices at import and
`select` must run before.
"""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

_PACKAGES = ("keras", "numpy", "jax", "tensorflow", "tensorflow-cpu", "torch")
_PREPARED = 1 << 29  # bytes, more than a first call or a build takes


def select(device):
    """Set the environment variables that backends read at import, also for child processes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if device == "cpu":
        os.environ.update(CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu")


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
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "device": _cpu_name() if device == "cpu" else _gpu_name(backend),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions,
    }


def _commit():
    """Return the commit, and whether the code differs from it, or `None` without git."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "keras_initx", "benchmarks/*.py")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit} with changes" if changed else commit


def _git(*arguments):
    return subprocess.run(
        ("git", *arguments),
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


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


def synchronize(tensor):
    """Wait until `tensor` of the backend is computed."""
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
