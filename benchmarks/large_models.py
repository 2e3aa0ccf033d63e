"""Measure what whole models take: additional memory, processor time, and what processes send.

    KERAS_BACKEND=jax python benchmarks/large_models.py --quick

`--quick` stops at 100 million weights; all sizes need 20 GiB of memory and 5 GiB of disk.
`--arithmetic` prints what follows for models that do not fit here. docs/large_models.md explains
the results.
"""

import functools
import gc
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import _common
import _device

# Width and number of dense layers.
SIZES = {"10M": (1024, 10), "100M": (2048, 24), "500M": (4096, 30), "1B": (4096, 60)}
DTYPES = ("float32", "bfloat16")
# Processes, devices of each.
PLACES = {"one device": (1, 1), "eight devices": (1, 8), "two processes": (2, 4)}
STEPS = ("build", "initialize", "initialize, atomic=False", "load_pretrained", "diagnose")
# Parameters, the largest weight and hosts: of Llama 2, and of an assumed model.
MODELS = {
    "7B": (6.7e9, 4096 * 11008, 1),
    "70B": (69e9, 8192 * 28672, 8),
    "1T": (1e12, 25600 * 102400, 64),
}
MIB = 1 << 20


def main():
    """Measure, print and write everything."""
    if "--worker" in sys.argv:
        sys.stdout.write(json.dumps(work(**json.loads(sys.argv[-1]))))
        return
    if "--arithmetic" in sys.argv:
        print(arithmetic())
        return
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    sizes = list(SIZES)[: 2 if arguments.quick else None]
    places = PLACES if arguments.environment["backend"] == "jax" else list(PLACES)[:1]
    cases = {}
    combinations = list(itertools.product(sizes, DTYPES, places))
    with _common.progress("large models", len(combinations)) as advance:
        for size, dtype, place in combinations:
            cases[f"{size}, {dtype}, {place}"] = {
                "measured": {"n": 1, **measure(size, dtype, place)}
            }
            results = {"large_models": cases, "targets": []}
            # What is done stays if it is interrupted.
            path = _common.write_results(arguments, "large_models", results)
            advance(1)
    print(report(results))
    print(f"\nWritten: {path}.json")


def measure(size, dtype, place):
    """Return the figures of each step: the largest memory of a process, and all processor time."""
    processes, _ = PLACES[place]
    with tempfile.TemporaryDirectory() as folder:
        case = {"size": size, "dtype": dtype, "processes": processes}
        case["file"] = str(_weights_file(Path(folder), size, dtype))
        found = in_place(__file__, case, place)
    return {
        step: {
            "memory": max(one[step]["memory"] for one in found),
            "seconds": sum(one[step]["seconds"] for one in found),
            "sent": found[0][step]["sent"],
        }
        for step in STEPS
    }


def in_place(script, case, place):
    """Return what each process of a place finds, which runs `script --worker` with a case."""
    processes, devices = PLACES[place]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        case = {**case, "port": free.getsockname()[1]}
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        # Otherwise the allocator of the C library keeps what is freed, for each thread, up to the
        # size of the model.
        "MALLOC_MMAP_THRESHOLD_": str(MIB),
    }
    workers = []
    for rank in range(processes):
        command = [sys.executable, script, "--worker", json.dumps({**case, "rank": rank})]
        pipe = subprocess.PIPE
        workers.append(subprocess.Popen(command, env=environment, stdout=pipe, text=True))
    printed = [worker.communicate()[0] for worker in workers]
    return [json.loads(text.splitlines()[-1]) for text in printed]


def _weights_file(folder, size, dtype):
    """Return a safetensors file in torch's layout, of zeros.

    Its header is written by hand: the data need no memory.
    """
    width, depth = SIZES[size]
    itemsize, code = {"float32": (4, "F32"), "bfloat16": (2, "BF16")}[dtype]
    length = width * width * itemsize
    header = {
        f"dense_{index}.weight" if index else "dense.weight": {
            "dtype": code,
            "shape": [width, width],
            "data_offsets": [index * length, (index + 1) * length],
        }
        for index in range(depth)
    }
    text = json.dumps(header).encode()
    path = folder / "model.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + depth * length)
    return path


def work(size, dtype, processes, rank, port, file):
    """Return the figures of each step in this process."""
    import keras

    sharded = "=1" not in os.environ["XLA_FLAGS"]
    if sharded:
        share(processes, rank, port)
    keras.utils.set_random_seed(0)

    import numpy as np

    import keras_initx
    from keras_initx.models import load_pretrained

    width, depth = SIZES[size]
    keras.config.set_dtype_policy(dtype)
    dense = functools.partial(
        keras.layers.Dense,
        width,
        activation="relu",
        use_bias=False,
        kernel_initializer="initx.he_normal",
    )
    model = keras.Sequential([dense() for _ in range(depth)])
    x = np.ones((16, width), "float32")
    own = depth * width * width * (4 if dtype == "float32" else 2) // processes
    # What is compiled or imported once for a process does not grow with the model.
    small = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(8, kernel_initializer="initx.he_normal")]
    )
    keras_initx.initialize(small, seed=0)
    keras_initx.diagnose(small, x[:, :8], x[:, :8], loss="mse")
    found = {"build": _measured(lambda: model.build((None, width)), model, processes)}
    found["build"]["memory"] -= own
    for step, function in {
        "initialize": lambda: keras_initx.initialize(model, seed=1),
        "initialize, atomic=False": lambda: keras_initx.initialize(model, seed=1, atomic=False),
        "load_pretrained": lambda: load_pretrained(model, file, layout="torch", atomic=False),
        "diagnose": lambda: keras_initx.diagnose(model, x, x, loss="mse"),
    }.items():
        found[step] = _measured(function, model, processes)
    return found


def share(processes, rank, port):
    """Put a part of the units of each kernel on each device, of all processes."""
    import jax
    import keras

    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        keras.distribution.initialize(f"localhost:{port}", processes, rank)
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((1, len(devices)), ("batch", "units"), devices)
    layout_map = keras.distribution.LayoutMap(mesh)
    layout_map[".*kernel"] = (None, "units")
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=layout_map, auto_shard_dataset=False)
    )


def _measured(function, model, processes):
    """Return the peak growth of memory, the processor time, and the bytes that were sent."""
    figures = measured(function, model, processes)
    return {key: figures[key] for key in ("memory", "seconds", "sent")}


def measured(function, model, processes):
    """Return what a call of `function` on a model takes, as a dict.

    These are the peak growth of memory and the growth that stays in bytes, the processor time and
    the time in seconds, and the bytes that all processes have sent.
    """
    _together(processes)
    sent = _loopback()
    begin = time.perf_counter(), time.process_time()

    def run():
        function()
        for weight in model.weights:
            _device.synchronize(weight.value)

    memory, kept = _growth(run)
    figures = {
        "memory": memory,
        "kept": kept,
        "seconds": time.process_time() - begin[1],
        "elapsed": time.perf_counter() - begin[0],
    }
    _together(processes)
    return {**figures, "sent": _loopback() - sent if processes > 1 else 0}


def _growth(run):
    """Return by how much `run` makes this process grow, at its peak and for good, in bytes.

    Without the pages of files that it reads.
    """
    gc.collect()
    _device.trim()
    before = peak = _device.resident("RssAnon")
    done = threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, _device.resident("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run()
    finally:
        done.set()
        watcher.join()
    gc.collect()
    _device.trim()
    return peak - before, _device.resident("RssAnon") - before


def _together(processes):
    if processes > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("step")


def _loopback():
    """Return the bytes that went through the loopback interface since the machine started."""
    return int(re.search(r"lo:\s*(\d+)", Path("/proc/net/dev").read_text())[1])


def report(results, size=""):
    """Return the results of one size or of all as Markdown, a row for each model and place."""
    rows = []
    for name, case in results["large_models"].items():
        if not name.startswith(size):
            continue
        width, depth = SIZES[name.partition(",")[0]]
        rows.append(
            (name, *(_cell(case["measured"].get(step), depth * width**2 / 1e6) for step in STEPS))
        )
    return _common.table(("model", *STEPS), rows)


def _cell(figures, millions):
    if figures is None:
        return "-"
    sent = f"; sent {figures['sent'] / MIB:,.0f}" if figures["sent"] else ""
    memory = max(figures["memory"], 0) / MIB
    milliseconds = 1e3 * figures["seconds"] / millions
    return f"{memory:,.0f} MiB; {milliseconds:.3g} ms{sent}"


def arithmetic():
    """Return what follows for models in bfloat16 on hosts of 8 accelerators, as Markdown."""
    rows = []
    for name, (parameters, largest, hosts) in MODELS.items():
        own, shard = 2 * parameters / (8 * hosts), 2 * largest / (8 * hosts)
        memory = (own, own + shard, 2 * own + shard, 8 * own)
        rows.append((name, hosts, *(f"{value / 1e9:,.3g} GB" for value in memory)))
    header = (
        "model",
        "hosts",
        "an accelerator's part",
        "atomic=False, peak",
        "initialize, peak",
        "a host reads",
    )
    return _common.table(header, rows)


if __name__ == "__main__":
    main()
