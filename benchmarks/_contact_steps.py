"""The steps of `first_contact.py`, each of which proves or disproves its docstring.

A step gets whether to take small sizes, and returns what it has found. It fails by an error.
"""

import contextlib
import importlib.util
import inspect
import math
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from unittest import mock

import _device
import keras
import numpy as np

import keras_initx
from keras_initx.backends import backend
from keras_initx.sampling import Stream, _namespace, _stream, affine, choose_namespace

ROOT = Path(__file__).parents[1]
BACKEND = keras.backend.backend()
# The name of the GPU, or `None`.
GPU = _device._gpu_name(BACKEND)
STEPS = {}
_LIMIT = backend.worth_a_device
# The most numbers in the tables of a draw.
_TABLES = 1 << 18
_PLACE = "KERAS_INITX_SAMPLE_ON"


class Skip(Exception):  # noqa: N818  # no error
    """A step that has nothing to prove here, and why."""


def step(limit, gpu=False, backends=(BACKEND,)):
    """Register a step.

    With the most seconds that it may take, whether it needs a GPU, and the backends that it is
    about.
    """

    def registered(function):
        STEPS[function.__name__] = function, limit, gpu, backends
        return function

    return registered


def outcome(name, few):
    """Do a step and return PASS, FAIL or SKIP, its sentence, and what was found."""
    function, _, gpu, backends = STEPS[name]
    try:
        if BACKEND not in backends:
            raise Skip(f"a matter of {' and '.join(backends)}")
        if gpu and GPU is None:
            raise Skip("no GPU")
        verdict, text = "PASS", function(few)
    except Skip as reason:
        verdict, text = "SKIP", str(reason)
    except Exception as error:  # whatever it is, the next step is done
        verdict, text = "FAIL", f"{type(error).__name__}: {error}"
    return verdict, inspect.getdoc(function), "--", " ".join(text.split())[:1500]


@step(60)
def versions(few):
    """Tell what is here."""
    about = _device.environment("gpu")
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), "none")
    headers = Path(sysconfig.get_paths()["include"], "Python.h").exists()
    packages = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    triton = "installed" if importlib.util.find_spec("triton") else "missing"
    return (
        f"{about['device'] or 'no GPU'}; {packages}; compiler {compiler}; headers {headers}; "
        f"Triton {triton}"
    )


@step(240)
def golden_values(few):
    """The device makes the golden values of all initializers; in 16 and 64 bits it makes those of the host."""  # noqa: E501, it is printed whole
    return _golden(few)


@step(240)
def golden_values_in_small_blocks(few):
    """The same where a block has 1,000 values."""
    with mock.patch.object(_stream, "BLOCK", 1000):
        return _golden(few)


def _golden(few):
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    try:
        import cases
        import golden
        import modes
    except ImportError as error:
        raise Skip(f"the tests need {error.name}") from error
    remembered, wrong, every = golden.load(), [], 5 if few else 1
    rows = list(golden.rows(cases.CASES + cases.RARE_CASES))[::every]
    for case, shape, dtype in rows:
        values, name = _made("device", case.make(), shape, dtype), golden.label(case, shape, dtype)
        found = golden.record(case, values)
        same = (
            found == remembered[name]
            if case.exact
            else np.allclose(found, remembered[name], rtol=0, atol=1e-5)
        )
        wrong += [] if same else [name]
    others = [
        (case, dtype)
        for case in cases.FIRST_CASES.values()
        for dtype in ("float16", "float64")
        if case.exact
    ]
    with modes.float64():
        for case, dtype in others[::every]:
            wrong += [] if _same(case.make(), case.shapes[0], dtype) else [f"{case} {dtype}"]
    assert not wrong, f"{len(wrong)} differ: {wrong[:5]}"
    return f"{len(rows)} golden values, {len(others[::every])} in other dtypes"


@step(240)
def sizes_and_starts(few):
    """Host and device make the same bits around the size of a block, from odd starts, and up to the last element."""  # noqa: E501, it is printed whole
    size = 5000 if few else _stream.BLOCK
    parts = [
        (0, size - 1),
        (0, size),
        (0, size + 1),
        (1, size),
        (2**31 - 3, 1001),
        (2**31, 1000),
        (2**32 - 999, 999),
    ]
    for start, count in parts:
        for dtype in ("float32", "bfloat16"):
            assert _part("host", start, count, dtype) == _part("device", start, count, dtype), (
                start,
                count,
                dtype,
            )
    return f"{len(parts)} parts in two dtypes"


@step(60)
def subnormal_values(few):
    """Values below the smallest normal number of a dtype are not zero, but those of float32 where XLA uses a CPU."""  # noqa: E501, it is printed whole
    flushed, cases = [], [("float16", 1e-5), ("bfloat16", 1e-39), ("float32", 1e-39)]
    xla_on_cpu = BACKEND != "torch" and GPU is None
    for dtype, stddev in cases[: 1 if xla_on_cpu else 3]:
        flushed += (
            []
            if _same(keras_initx.RandomNormal(stddev=stddev, seed=1), (5000,), dtype)
            else [dtype]
        )
    assert not flushed, f"differs from the host in {flushed}"
    return "float16 alone" if xla_on_cpu else "float16, bfloat16, float32"


@step(60)
def threshold(few):
    """An accelerator makes large arrays, and a CPU none."""
    with mock.patch.dict(os.environ, {_PLACE: "auto"}):
        found = [choose_namespace(size) is _namespace.DEVICE for size in (_LIMIT - 1, _LIMIT)]
    assert found == [False, backend.on_accelerator()], found
    return f"the device, from {_LIMIT:,} values on" if found[1] else "the host makes all"


@step(120, gpu=True)
def memory(few):
    """A draw needs three blocks and the tables in addition to the array, or more with operations of torch."""  # noqa: E501, it is printed whole
    # Larger than what earlier steps made, and ending where TensorFlow shares memory.
    size, initializer = (1 << 28) + 16, keras_initx.RandomNormal(seed=1)
    _made("device", initializer, (_LIMIT,))  # compiles
    with mock.patch.dict(os.environ, {_PLACE: "device"}):
        growth = _device.peak_growth(lambda: initializer((size,)), BACKEND, "gpu")
    blocks, most = (
        (growth / 4 - size - _TABLES) / _stream.block_length(size),
        16 if BACKEND == "torch" and not _runs_triton() else 3,
    )
    assert blocks <= most, f"{blocks:.2f} blocks beyond {size:,} values"
    return f"{blocks:.2f} blocks beyond {size:,} values"


@step(120, gpu=True)
def more_than_2_to_the_31(few):
    """Arrays of more than 2**31 elements have the values of the host: first, middle and last ones."""  # noqa: E501, it is printed whole
    columns, middle = 4097, 2**31 // 4097  # rows, because JAX slices no axis beyond 2**31
    shape = (middle + 2, columns)
    with mock.patch.dict(os.environ, {_PLACE: "device"}):
        made = keras_initx.RandomNormal(stddev=1.0, seed=7)(shape, "bfloat16")
    for row in (0, middle, middle + 1):
        found = keras.ops.convert_to_numpy(made[row])
        assert found.tobytes() == _part("host", row * columns, columns, "bfloat16"), row
    return f"three rows of {math.prod(shape):,} values"


@step(120)
def full_precision(few):
    """Where the user allows TF32, a frame is that of the host within 1e-5, and the setting stays."""  # noqa: E501, it is printed whole
    with contextlib.ExitStack() as stack:
        if BACKEND == "torch":
            import torch

            torch.set_float32_matmul_precision("high")
            stack.callback(torch.set_float32_matmul_precision, "highest")
            read = torch.get_float32_matmul_precision
        elif BACKEND == "jax":
            import jax

            stack.enter_context(jax.default_matmul_precision("tensorfloat32"))
            read = lambda: jax.config.jax_default_matmul_precision  # noqa: E731
        else:
            import tensorflow as tf

            read = tf.config.experimental.tensor_float_32_execution_enabled
        before, shape = read(), (150, 130) if few else (1500, 1300)
        frames = [
            _made(place, keras_initx.Orthogonal(seed=1), shape) for place in ("host", "device")
        ]
        error = float(np.abs(frames[0] - frames[1]).max())
        assert read() == before, f"the setting was {before} and is {read()}"
    assert error < 1e-5, f"off by {error:.1e}"
    return f"off by {error:.1e} at most; the setting stays {before}"


@step(120, backends=("jax", "tensorflow"))
def compiled_programs(few):
    """A new seed or scale compiles nothing, and a new shape no program of a block."""
    blocks, programs = [], []
    if BACKEND == "jax":
        import jax

        jax.monitoring.register_event_duration_secs_listener(
            lambda name, *_, **__: (
                programs.append(1) if "backend_compile_duration" in name else None
            )
        )
    words_at, counts = _stream.words_at, {}
    size, draw = 3000 if few else 3 << 21, keras_initx.RandomNormal
    with mock.patch.object(
        _stream, "words_at", lambda *arguments: blocks.append(1) or words_at(*arguments)
    ):
        for what, initializer, shape in (
            ("first call", draw(stddev=0.1, seed=1), (size,)),
            ("new seed", draw(stddev=0.1, seed=2), (size,)),
            ("new scale", draw(stddev=0.2, seed=2), (size,)),
            ("new shape", draw(stddev=0.2, seed=2), (size // 3, 7)),
        ):
            blocks.clear(), programs.clear()
            _made("device", initializer, shape)
            counts[what] = (len(blocks), len(programs))
    text = ", ".join(
        f"{what} {block} for blocks {all_of} in all" for what, (block, all_of) in counts.items()
    )
    assert counts["new seed"] == counts["new scale"] == (0, 0), text
    assert counts["new shape"][0] == 0, text
    return text


@step(240, gpu=True)
def rates(few):
    """Tell how long one and seven billion values take."""
    size, lines = 10**6 if few else 10**9, []
    for name in ("RandomNormal", "RandomUniform"):
        for dtype in ("float32", "bfloat16"):
            initializer = getattr(keras_initx, name)(seed=1)
            one, seven = (
                _seconds("device", initializer, (size,), dtype, times) for times in (1, 7)
            )
            lines.append(f"{name} {dtype}: one billion {one:.3g} s, seven {seven:.3g} s")
    return "; ".join(lines)


@step(120, gpu=True, backends=("torch",))
def triton_against_operations(few):
    """Triton's kernel makes the bits of torch's operations, in less time."""
    if not _runs_triton():
        raise Skip("no Triton")
    initializer, shape = keras_initx.TruncatedNormal(seed=1), (4096, 4097)
    makers = {
        "Triton": contextlib.nullcontext,
        "operations": lambda: mock.patch.object(backend, "triton_device", str),
    }
    values, seconds = [], {}
    for name, context in makers.items():
        with context():
            values.append(_made("device", initializer, shape).tobytes())
            seconds[name] = _seconds("device", initializer, shape)
    text = ", ".join(f"{name} {1e3 * value:.3g} ms" for name, value in seconds.items())
    assert values[0] == values[1], "other bits"
    assert seconds["Triton"] < seconds["operations"], text
    return text


@step(180, gpu=True)
def orthogonal(few):
    """A frame takes less time than the factorization of the backend, and is orthonormal within 1e-5."""  # noqa: E501, it is printed whole
    shape = (256, 256) if few else (4096, 4096)
    ours, theirs = keras_initx.Orthogonal(seed=1), keras.initializers.Orthogonal(seed=1)
    frame = _made("device", ours, shape).astype("float64")
    error = np.abs(frame.T @ frame[:, :64] - np.eye(shape[0], 64)).max()
    own, peer = _seconds("device", ours, shape), _seconds("device", theirs, shape)
    text = f"{1e3 * own:.3g} ms, Keras' own {1e3 * peer:.3g} ms, off by {error:.1e}"
    assert error < 1e-5 and (few or own < peer), text  # noqa: PT018
    return text


@step(180, gpu=True)
def sparse(few):
    """Sparse kernels have the bits of the host, with 10 connections and with half of them."""
    lines, side = [], 256 if few else 4096
    for arguments in ({"connections": 10}, {"sparsity": 0.5}):
        initializer = keras_initx.Sparse(**arguments, seed=1)
        assert _same(initializer, (side, side)), arguments
        shape = (side, side) if few else (16384, 16384)
        lines.append(f"{arguments} {1e3 * _seconds('device', initializer, shape):.3g} ms")
    return ", ".join(lines)


@step(180, gpu=True)
def crossover(few):
    """From the size on that a device makes, it is faster than the host, copy included."""
    lines, figures = [], {}
    for power in range(16, 23 if few else 27):
        initializer, shape = keras_initx.RandomNormal(seed=1), (1 << power,)
        for place in ("host", "device"):
            first = _timed(place, initializer, shape)
            figures[place, power] = warm = _seconds(place, initializer, shape)
            lines.append(f"2^{power} {place} {1e3 * first:.3g}, {1e3 * warm:.3g} ms")
    text = "first and warm: " + "; ".join(lines)
    assert all(
        figures["device", power] < figures["host", power]
        for place, power in figures
        if 1 << power >= _LIMIT
    ), text
    return text


@step(180, gpu=True)
def build(few):
    """Tell how long a transformer of 85 million weights takes to build, beside Keras' own initializers."""  # noqa: E501, it is printed whole
    import _models

    seconds = {}
    for name in ("he_normal", "glorot_uniform", "orthogonal"):
        for initializer in (f"initx.{name}", name):
            times = []
            for _ in range(1 if few else 3):
                start = time.perf_counter()
                model = _models.transformer(initializer, blocks=2 if few else 12)
                _device.synchronize(model.trainable_variables[-1].value)
                times.append(time.perf_counter() - start)
            seconds[initializer] = times[0], min(times)
    return "first and fastest: " + "; ".join(
        f"{name} {first:.3g}, {fastest:.3g} s" for name, (first, fastest) in seconds.items()
    )


@step(180, gpu=True, backends=("torch",))
def without_a_compiler(few):
    """Without a C compiler there is one warning, and torch's operations make the values."""
    code = """if True:
        import warnings, keras_initx
        with warnings.catch_warnings(record=True) as seen:
            made = [keras_initx.RandomNormal(seed=1)((4096, 1025)) for _ in range(2)]
        print(sum("Triton" in str(each.message) for each in seen), made[0].std().item())
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX")}
    with tempfile.TemporaryDirectory() as cache:
        surroundings = kept | {"PATH": "", "TRITON_CACHE_DIR": cache, _PLACE: "auto"}
        found = subprocess.run(
            [sys.executable, "-c", code], env=surroundings, capture_output=True, text=True
        )
    assert not found.returncode, found.stderr[-300:]
    count, std = found.stdout.split()
    assert abs(float(std) - 0.05) < 1e-3, std
    assert count in ("0", "1"), f"{count} warnings"
    return (
        "one warning"
        if count == "1"
        else "Triton ran: this one needs no compiler for what it launches"
    )


@step(60, gpu=True, backends=("torch",))
def stream_of_the_user(few):
    """On a stream of the user's the values are those of the host."""
    import torch

    initializer, stream = keras_initx.RandomNormal(seed=1), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        assert _same(initializer, (4096, 1025)), "other bits"
    return "4,198,400 values"


def _runs_triton():
    """Return whether Triton's kernel makes large arrays."""
    device = backend.triton_device()
    return bool(device) and _stream._runs_triton(device)


def _made(place, initializer, shape, dtype="float32"):
    """Return what an initializer makes in a place, as an array."""
    with mock.patch.dict(os.environ, {_PLACE: place}):
        return keras.ops.convert_to_numpy(initializer(shape, dtype))


def _same(initializer, shape, dtype="float32"):
    """Return whether the host and the device make the same bits."""
    host, device = (
        _made(place, initializer, shape, dtype).tobytes() for place in ("host", "device")
    )
    return host == device


def _part(place, start, size, dtype):
    """Return the bits of a part of a draw."""
    space = {"host": _namespace.HOST, "device": _namespace.DEVICE}[place]
    made = Stream((7, 0), dtype, xp=space).normal(0, (size,), start=start, then=affine(0, 1))
    return (made if isinstance(made, np.ndarray) else keras.ops.convert_to_numpy(made)).tobytes()


def _timed(place, initializer, shape, dtype="float32", times=1):
    """Return the seconds of so many calls, up to the end of the computation."""
    with mock.patch.dict(os.environ, {_PLACE: place}):
        start = time.perf_counter()
        for _ in range(times):
            made = initializer(shape, dtype)
        _device.synchronize(made)
        return time.perf_counter() - start


def _seconds(*arguments):
    """Return the seconds of warm calls."""
    _timed(*arguments)
    return min(_timed(*arguments) for _ in range(3))
