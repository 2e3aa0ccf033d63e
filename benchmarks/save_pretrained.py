"""Measure the time and the memory of `save_pretrained`, next to those of the load that it undoes.

    KERAS_BACKEND=jax python benchmarks/save_pretrained.py --quick

measures one backend on one device. README.md in this folder explains the results.
"""

import contextlib
import ctypes
import gc
import math
import tempfile
import time
from pathlib import Path

import _common
import _device
import report


def _dense(layers):
    return [layers.Dense(4096, name="m")], (4096,), {"m.weight": (4096, 4096), "m.bias": (4096,)}


def _flattened(layers):
    stack = [layers.Conv2D(64, 3, name="conv"), layers.Flatten(), layers.Dense(1024, name="out")]
    arrays = {"conv.weight": (64, 3, 3, 3), "conv.bias": (64,)}
    return stack, (18, 18, 3), arrays | {"out.weight": (1024, 64 * 16 * 16), "out.bias": (1024,)}


def _convolution(layers):
    arrays = {"m.weight": (1024, 1024, 3, 3), "m.bias": (1024,)}
    return [layers.Conv2D(1024, 3, name="m")], (8, 8, 1024), arrays


def _recurrent(gates, units=2048):
    rows = gates * units
    weights = {"m.weight_ih_l0": (rows, units), "m.weight_hh_l0": (rows, units)}
    return (8, units), weights | {"m.bias_ih_l0": (rows,), "m.bias_hh_l0": (rows,)}


def _lstm(layers):
    return [layers.LSTM(2048, recurrent_initializer="zeros", name="m")], *_recurrent(4)


def _gru(layers):
    return [layers.GRU(2048, recurrent_initializer="zeros", name="m")], *_recurrent(3)


def _attention(layers):
    import keras

    inputs = keras.Input((8, 2048))
    attended = layers.MultiHeadAttention(16, 128, name="m")(inputs, inputs)
    width = 2048
    arrays = {"m.in_proj_weight": (3 * width, width), "m.in_proj_bias": (3 * width,)}
    arrays |= {"m.out_proj.weight": (width, width), "m.out_proj.bias": (width,)}
    return keras.Model(inputs, attended), None, arrays


# Functions of `keras.layers` that return layers or a model, the shape of an input, and the shapes
# of the arrays in torch.
MODELS = {
    "Dense, transposed": _dense,
    "Flatten, rows reordered": _flattened,
    "Conv2D, axes moved": _convolution,
    "MultiHeadAttention, fused": _attention,
    "LSTM, biases summed": _lstm,
    "GRU, gates reordered": _gru,
}
# The dtype of the model, and that of the file.
QUICK_DTYPES = (("float32", "float32"), ("float32", "bfloat16"), ("bfloat16", "bfloat16"))
DTYPES = (*QUICK_DTYPES, ("float32", "float16"), ("float16", "float16"))
# `M_MMAP_THRESHOLD` of `mallopt` in glibc.
_MMAP_THRESHOLD = -3


def main():
    """Measure, write and print everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    repeats = arguments.repeats or (5 if arguments.quick else 15)
    cases = {}
    pairs = QUICK_DTYPES if arguments.quick else DTYPES
    with _common.progress("models", len(MODELS) * len(pairs)) as step:
        for model in MODELS:
            for dtypes in pairs:
                case = _common.in_fresh_process(times, model, *dtypes, repeats)
                case["arrays"] = _common.in_fresh_process(peak, model, *dtypes)
                cases[f"{model}: {' as '.join(dtypes)}"] = case
                step()
    print(report.saves(_common.write_results(arguments, "save_pretrained", {"cases": cases})))


def times(model, dtype, stored, repeats):
    """Return the times of a load and a save, and their ratio, which are measured in turns."""
    found = {"load": [], "save": []}
    with _opened(model, dtype, stored) as (built, calls, _):
        for _ in range(repeats + 1):
            for name, call in calls.items():
                _change(built)
                start = time.perf_counter()
                call()
                for weight in built.weights:
                    _device.synchronize(weight.value)
                found[name].append(time.perf_counter() - start)
    # The first ones import modules.
    load, save = found["load"][1:], found["save"][1:]
    return {
        "seconds": {"load": _common.spread(load), "save": _common.spread(save)},
        "ratio": _common.ratio(save, load),
    }


def peak(model, dtype, stored):
    """Return the memory that a save takes beyond the model, in sizes of its largest array."""
    libc = ctypes.CDLL(None)
    # Linux gets back what is freed: otherwise glibc keeps up to 32 MB, an array of 16 bits.
    libc.mallopt(_MMAP_THRESHOLD, 1 << 20)
    with _opened(model, dtype, stored) as (built, calls, largest):
        for _ in range(2):  # the first one imports modules
            _change(built)
            gc.collect()
            libc.malloc_trim(0)  # free memory would be used again unseen
            Path("/proc/self/clear_refs").write_text("5")  # Linux forgets the peak
            before = _status("VmRSS")
            calls["save"]()
            found = _status("VmHWM") - before
    return found / largest


@contextlib.contextmanager
def _opened(model, dtype, stored):
    """Yield a model, functions that load and save it, and the bytes of its largest array."""
    import keras
    import numpy as np

    import keras_initx
    from keras_initx.files._safetensors import ArraySpec, format_dtype, write_safetensors

    keras.config.set_dtype_policy(dtype)
    built, shape, shapes = MODELS[model](keras.layers)
    if shape is not None:
        built = keras.Sequential([keras.Input(shape), *built])
    random = np.random.default_rng(0)
    described = {}
    for name, of_array in shapes.items():
        size = math.prod(of_array) * np.dtype(stored).itemsize
        described[name] = ArraySpec(format_dtype(stored), of_array, size)
    values = (random.random(one.shape, "float32").astype(stored) for one in described.values())
    with tempfile.TemporaryDirectory() as folder:
        like, path = Path(folder, "like.safetensors"), Path(folder, "tuned.safetensors")
        write_safetensors(like, described, values, {})
        calls = {
            "load": lambda: keras_initx.load_pretrained(built, like, layout="torch"),
            "save": lambda: keras_initx.save_pretrained(built, path, like=like, layout="torch"),
        }
        items = max(math.prod(one.shape) for one in described.values())
        yield built, calls, items * max(np.dtype(name).itemsize for name in (dtype, stored))


def _change(model):
    """Change each weight, as training does: an unchanged one would keep its bits."""
    for weight in model.weights:
        weight.assign(weight.value * 0.5 + 0.001)
        _device.synchronize(weight.value)


def _status(name):
    """Return what Linux says of the memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
