"""The cases of `sampling.py`: one row for each initializer, with its peers, shapes and targets."""

import functools
import importlib
import math
from collections.abc import Callable
from typing import NamedTuple

import _device

OURS = "keras_initx"


def _seeded(module, name, **arguments):
    """Return a function that maps a seed to the initializer `name` of a module."""
    return lambda seed: getattr(importlib.import_module(module), name)(**arguments, seed=seed)


ours, keras_builtin = (
    functools.partial(_seeded, module) for module in ("keras_initx", "keras.initializers")
)


def jax_builtin(name, **arguments):
    """Return a function that maps a seed to `jax.nn.initializers.<name>`."""

    def make(seed):
        import jax

        return functools.partial(
            getattr(jax.nn.initializers, name)(**arguments), jax.random.key(seed)
        )

    return make


def torch_builtin(name, **arguments):
    """Return a function that maps a seed to `torch.nn.init.<name>`.

    An argument may depend on the shape.
    """

    def make(seed):
        import keras
        import torch

        torch.manual_seed(seed)
        if keras.backend.backend() != "torch":
            torch.set_num_threads(1)
        device = "cuda" if torch.cuda.is_available() else "cpu"

        def initializer(shape, dtype):
            values = {
                key: value(shape) if callable(value) else value for key, value in arguments.items()
            }
            tensor = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
            return getattr(torch.nn.init, name)(tensor, **values)

        return initializer

    return make


class Row(NamedTuple):
    """An initializer, its peers and its targets.

    Attributes:
        name: Name in the tables.
        ours: Function that maps a seed to an initializer.
        peers: The same for each peer, by library name.
        shapes: Shapes measured in the quick form too.
        more: Shapes measured in the full form only.
        goals: Target ratio at `shapes` on the CPU, by peer and backend.
        elsewhere: The same at all other shapes.
        dense: Whether the targets hold in the first call too, and 16 bits may take no longer than
            32.
        extra_memory: Maximum memory beyond the result, relative to the size of the result.
        gpu_shapes: Shapes for an accelerator, instead of `shapes` and `more`.
        gpu_goals: Target ratio on an accelerator, by peer and backend.
        gpu_goals_from: Minimum length of the first axis for this target.
        gpu_share: Target fraction of the write bandwidth on an accelerator, by backend.
        frame: Whether the result has orthonormal columns or rows.
    """

    name: str
    ours: Callable
    peers: dict
    shapes: tuple
    more: tuple = ()
    goals: dict = {}
    elsewhere: dict = {}
    dense: bool = False
    extra_memory: float | None = None
    gpu_shapes: tuple = ()
    gpu_goals: dict = {}
    gpu_goals_from: int = 0
    gpu_share: dict = {}
    frame: bool = False

    def required(self, peer, shape, dtype, backend, device):
        """Return the target ratio against `peer`, or `None`."""
        if device == "gpu":
            return (
                self.gpu_goals.get(peer, {}).get(backend)
                if shape[0] >= self.gpu_goals_from
                else None
            )
        goals = self.goals if shape in self.shapes and dtype == "float32" else self.elsewhere
        return goals.get(peer, {}).get(backend)


_EACH = ("jax", "tensorflow", "torch")
_GPU_SHARE = {"jax": 0.5, "tensorflow": 0.5}

_DENSE = {
    "normal": (
        ours("RandomNormal", stddev=1.0),
        {
            "keras": keras_builtin("RandomNormal", stddev=1.0),
            "jax": jax_builtin("normal", stddev=1.0),
            "torch": torch_builtin("normal_"),
        },
    ),
    "uniform": (
        ours("RandomUniform", minval=0.0, maxval=1.0),
        {
            "keras": keras_builtin("RandomUniform", minval=0.0, maxval=1.0),
            "jax": jax_builtin("uniform", scale=1.0),
            "torch": torch_builtin("uniform_"),
        },
    ),
    "truncated normal": (
        ours("TruncatedNormal", stddev=1.0),
        {
            "keras": keras_builtin("TruncatedNormal", stddev=1.0),
            "jax": jax_builtin("truncated_normal", stddev=1.0),
            "torch": torch_builtin("trunc_normal_", a=-2.0, b=2.0),
        },
    ),
}

ROWS = (
    *(
        Row(
            name,
            *makers,
            shapes=((512, 512), (2048, 2048), (4096, 4096)),
            more=((64, 64),),
            goals={"keras": {"jax": 3, "tensorflow": 3}, "torch": {"torch": 2}},
            elsewhere={"torch": {"torch": 1}},
            dense=True,
            extra_memory=1,
            gpu_shapes=((2048, 2048), (8192, 8192)),
            gpu_goals={"keras": {"torch": 1}},
            gpu_share=_GPU_SHARE,
        )
        for name, makers in _DENSE.items()
    ),
    Row(
        "sparse, 10 a unit",
        ours("Sparse", connections=10),
        {"torch": torch_builtin("sparse_", sparsity=lambda shape: 1 - 10 / shape[0])},
        shapes=((4096, 4096),),
        more=((256, 256), (1024, 1024)),
        goals={"torch": dict.fromkeys(_EACH, 30)},
        extra_memory=0.1,
        gpu_shapes=((4096, 4096), (16384, 16384)),
        gpu_goals={"torch": dict.fromkeys(_EACH, 10)},
        gpu_share=_GPU_SHARE,
    ),
    *(
        Row(
            f"sparse, {sparsity:.0%} zeros",
            ours("Sparse", sparsity=sparsity),
            {"torch": torch_builtin("sparse_", sparsity=sparsity)},
            shapes=((1024, 1024),),
            more=((4096, 4096),),
            goals={"torch": dict.fromkeys(_EACH, 1)},
            extra_memory=0.1,
            gpu_shapes=((1024, 1024), (4096, 4096)),
            gpu_goals={"torch": dict.fromkeys(_EACH, 1)},
        )
        for sparsity in (0.9, 0.5)
    ),
    Row(
        "orthogonal",
        ours("Orthogonal"),
        {
            "keras": keras_builtin("Orthogonal"),
            "jax": jax_builtin("orthogonal"),
            "torch": torch_builtin("orthogonal_"),
        },
        shapes=((256, 256), (512, 512), (1024, 1024), (2048, 2048)),
        more=((64, 64), (128, 128), (100, 300), (3, 3, 256, 256), (4096, 512), (768, 3072)),
        goals={"keras": {"jax": 2, "tensorflow": 3, "torch": 1.2}},
        elsewhere={"keras": {"jax": 2, "tensorflow": 2, "torch": 1}},
        extra_memory=3,
        gpu_shapes=((256, 256), (1024, 1024), (4096, 4096), (8192, 8192)),
        gpu_goals={"keras": dict.fromkeys(_EACH, 5)},
        gpu_goals_from=4096,
        frame=True,
    ),
)


def cases(quick, device):
    """Return the cases to measure as tuples (row, shape, dtype)."""
    found = []
    for row in ROWS:
        shapes = row.gpu_shapes if device == "gpu" else row.shapes if quick else sorted_shapes(row)
        found += [(row, shape, "float32") for shape in shapes]
        if not quick:
            found.append(
                (row, row.gpu_shapes[0] if device == "gpu" else row.shapes[-1], "bfloat16")
            )
    return found


def sorted_shapes(row):
    """Return all shapes on the CPU by their size."""
    return sorted(row.shapes + row.more, key=math.prod)


def label(row, shape, dtype):
    """Return the name of a case."""
    return f"{row.name}, {'x'.join(map(str, shape))}" + (f", {dtype}" if dtype != "float32" else "")


def makers(row, backend):
    """Return our initializer and the available peers, by name.

    torch is used with another backend only if there is no other peer, because two thread pools
    would slow each other.
    """
    torch = _device.has_torch() and (backend == "torch" or set(row.peers) == {"torch"})
    here = {"keras": True, "jax": backend == "jax", "torch": torch}
    return {OURS: row.ours} | {name: make for name, make in row.peers.items() if here[name]}


def maker(row_name, name):
    """Return the function that maps a seed to the initializer `name` of a row."""
    row = next(row for row in ROWS if row.name == row_name)
    return row.ours if name == OURS else row.peers[name]


def size_in_bytes(shape, dtype):
    """Return the size of a result."""
    return math.prod(shape) * {"float32": 4, "bfloat16": 2}[dtype]


def frame_operations(shape):
    """Return the operations to multiply the reflections of a frame, the same for all peers."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    long, short = max(rows, columns), min(rows, columns)
    return 2 * long * short**2 - 2 * short**3 / 3
