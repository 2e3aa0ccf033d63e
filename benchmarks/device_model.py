"""Predict the time to make values on an accelerator, from operation counts and published rates.

The compiler counts the operations.

    KERAS_BACKEND=jax python benchmarks/device_model.py

needs no accelerator and prints the predictions of docs/devices.md. The last table is measured: the
time of this machine's host, which other backends print alone.
"""

import time
from typing import NamedTuple

import _common

_SIZE = 1 << 20
_BILLIONS = 7
_FRAME = 4096
_PANEL = 64


class Device(NamedTuple):
    """Published rates of an accelerator.

    Attributes:
        bandwidth: Bytes of memory read or written per second.
        operations: Integer operations per second. A multiply-add counts as one.
        lookups: Table lookups per second. One per clock and multiprocessor is assumed.
        products: Operations of float32 matrix products per second, in full precision.
    """

    bandwidth: float
    operations: float
    lookups: float
    products: float


# NVIDIA, "H100 Tensor Core GPU architecture" (2022), SXM5: 132 multiprocessors with 64 integer
# units at 1.98 GHz, and "H200 Tensor Core GPU" (2024). NVIDIA, "A100 Tensor Core GPU architecture"
# (2020): 108 with 64 at 1.41 GHz. Google Cloud, "TPU v5e": bandwidth and bfloat16 products, of
# which one in full precision takes six. Its vector unit has no published rates: 8 by 128 lanes with
# 4 units at 1.5 GHz, which look up 8 words a clock, are an assumption.
DEVICES = {
    "H100 SXM": Device(3.35e12, 132 * 64 * 1.98e9, 132 * 1.98e9, 67e12),
    "H200": Device(4.8e12, 132 * 64 * 1.98e9, 132 * 1.98e9, 67e12),
    "A100 80GB": Device(2.039e12, 108 * 64 * 1.41e9, 108 * 1.41e9, 19.5e12),
    "TPU v5e": Device(0.819e12, 8 * 128 * 4 * 1.5e9, 8 * 1.5e9, 197e12 / 6),
}
# Table reads that the compiler counts are not memory traffic, because a table stays in the cache.
LOOKUPS = {"uniform": 0, "normal": 2, "truncated normal": 2}


# Blocks of so few values that dispatching them is all that takes time, and the fewer and the more
# of two draws.
_TINY = 64
_FEWER, _MORE = 200, 1200
_REPEATS = 15


def main():
    """Count, predict, measure the host and print."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        predict()
    seconds, blocks = dispatch_seconds(), _BILLIONS * 1e9 / _block()
    print(
        f"Time of the host to dispatch blocks of {_block():,} values, while the device computes:\n"
    )
    row = (
        backend,
        _common.significant(1e6 * seconds, 2),
        f"{blocks:,.0f}",
        _common.significant(blocks * seconds, 2),
    )
    print(
        _common.table(
            ("backend", "microseconds a block", f"blocks of {_BILLIONS} billion values", "seconds"),
            [row],
        )
    )


def _block():
    from keras_initx.sampling import _stream

    return _stream.BLOCK


def dispatch_seconds():
    """Return the seconds of the host for each block of a normal draw, from two tiny draws."""
    import os
    from unittest import mock

    import _device

    import keras_initx
    from keras_initx.sampling import _stream

    def seconds(blocks):
        start = time.thread_time()  # which leaves out what other processes take
        _device.synchronize(initializer((blocks * _TINY,)))
        return time.thread_time() - start

    initializer = keras_initx.RandomNormal(seed=1)
    with (
        mock.patch.object(_stream, "BLOCK", _TINY),
        mock.patch.dict(os.environ, KERAS_INITX_SAMPLE_ON="device"),
    ):
        # The first of each compiles.
        fewer, more = (
            min([seconds(blocks) for _ in range(1 + _REPEATS)]) for blocks in (_FEWER, _MORE)
        )
    return (more - fewer) / (_MORE - _FEWER)


def predict():
    """Count, predict and print."""
    counted = counts()
    rows = []
    for name, operations in counted.items():
        for written in (4, 2):
            predictions = _predictions(operations, LOOKUPS[name], written)
            rows.append(
                (name, _common.significant(operations), LOOKUPS[name], written, *predictions)
            )
    header = ("draws", "operations a value", "lookups", "bytes of a value", *DEVICES)
    print(f"Seconds for {_BILLIONS} billion values, and what limits them:\n")
    print(_common.table(header, rows), end="\n\n")
    print(f"Milliseconds for an orthogonal kernel of {_FRAME} by {_FRAME}:\n")
    print(
        _common.table(("", *DEVICES), [("orthogonal", *map(_frame, DEVICES.values()))]), end="\n\n"
    )


def counts():
    """Return the number of operations per value in a block, as counted by the compiler."""
    import numpy as np

    from keras_initx.sampling import _conversion, _stream

    kinds = {
        "uniform": (_conversion.as_uniform, ()),
        "normal": (_conversion.as_normal, (_conversion.normal_table("float32"),)),
        "truncated normal": (
            _conversion.as_interpolated,
            (_conversion.truncated_quantiles(-2.0, 2.0).knots,),
        ),
    }
    found = {}
    for name, (convert, tables) in kinds.items():
        program = _stream._block_program(convert, "float32", "float32", _SIZE)
        arguments = (np.zeros(4, "int32"), np.zeros(5, "float32"), *tables)
        found[name] = program.lower(*arguments).compile().cost_analysis()["flops"] / _SIZE
    return found


def _predictions(operations, lookups, written):
    for device in DEVICES.values():
        # A block is written, read again, and written to the array, which is filled with zeros
        # first.
        seconds = {
            "memory": 4 * written / device.bandwidth,
            "arithmetic": operations / device.operations,
            "lookups": lookups / device.lookups,
        }
        limit = max(seconds, key=seconds.get)
        yield f"{_common.significant(_BILLIONS * 1e9 * seconds[limit], 2)} ({limit})"


def _frame(device):
    """Return the milliseconds for a square frame.

    Per panel there are two products, and the frame is read twice and written once.
    """
    panels = _FRAME // _PANEL
    seconds = {
        "products": panels * 4 * _PANEL * _FRAME**2 / device.products,
        "memory": panels * 3 * 4 * _FRAME**2 / device.bandwidth,
    }
    limit = max(seconds, key=seconds.get)
    return f"{_common.significant(1e3 * seconds[limit], 2)} ({limit})"


if __name__ == "__main__":
    main()
