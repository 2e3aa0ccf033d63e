"""The cases of `sampling.py`: one row for each initializer, with its peers and shapes."""

import functools
import importlib
import math
from collections.abc import Callable
from typing import NamedTuple

from report import OURS


def _of_module(module, name, **arguments):
    """Return a function that maps a seed to the initializer `name` of a module."""
    return lambda seed: getattr(importlib.import_module(module), name)(**arguments, seed=seed)


ours, keras_builtin = (
    functools.partial(_of_module, module) for module in ("keras_initx", "keras.initializers")
)


def dirac(seed):
    """Return our `Dirac`, which takes no seed."""
    import keras_initx

    return keras_initx.Dirac()


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
        import torch

        torch.manual_seed(seed)
        device = "cuda" if torch.cuda.is_available() else "cpu"

        def initializer(shape, dtype):
            if len(shape) > 2:  # torch has the channels first, and only so does the same work
                shape = (shape[-1], shape[-2], *shape[:-2])
            values = {
                key: value(shape) if callable(value) else value for key, value in arguments.items()
            }
            tensor = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
            return getattr(torch.nn.init, name)(tensor, **values)

        return initializer

    return make


class Row(NamedTuple):
    """An initializer and its peers.

    Attributes:
        name: Name in the tables.
        ours: Function that maps a seed to an initializer.
        peers: The same for each peer, by library name.
        shapes: Shapes measured in the quick form too.
        more: Shapes measured in the full form only.
    """

    name: str
    ours: Callable
    peers: dict
    shapes: tuple
    more: tuple = ()


_ORTHOGONAL_PEERS = {
    "keras": keras_builtin("Orthogonal"),
    "jax": jax_builtin("orthogonal"),
    "torch": torch_builtin("orthogonal_"),
}
# Classes that differ from one of these only in the scale have no row.
ROWS = (
    Row(
        "RandomNormal",
        ours("RandomNormal", stddev=1.0),
        {
            "keras": keras_builtin("RandomNormal", stddev=1.0),
            "jax": jax_builtin("normal", stddev=1.0),
            "torch": torch_builtin("normal_"),
        },
        shapes=((64, 64), (512, 512), (4096, 4096)),
        more=((2048, 2048),),
    ),
    Row(
        "RandomUniform",
        ours("RandomUniform", minval=0.0, maxval=1.0),
        {
            "keras": keras_builtin("RandomUniform", minval=0.0, maxval=1.0),
            "jax": jax_builtin("uniform", scale=1.0),
            "torch": torch_builtin("uniform_"),
        },
        shapes=((64, 64), (512, 512), (4096, 4096)),
        more=((2048, 2048),),
    ),
    Row(
        "TruncatedNormal",
        ours("TruncatedNormal", stddev=1.0),
        {
            "keras": keras_builtin("TruncatedNormal", stddev=1.0),
            "jax": jax_builtin("truncated_normal", stddev=1.0),
            "torch": torch_builtin("trunc_normal_", a=-2.0, b=2.0),
        },
        shapes=((64, 64), (512, 512), (4096, 4096)),
        more=((2048, 2048),),
    ),
    Row(
        "HeNormal",
        ours("HeNormal"),
        {
            "keras": keras_builtin("HeNormal"),
            "jax": jax_builtin("he_normal"),
            "torch": torch_builtin("kaiming_normal_"),
        },
        shapes=((512, 512),),
        more=((64, 64), (2048, 2048), (4096, 4096)),
    ),
    Row(
        "GlorotUniform",
        ours("GlorotUniform"),
        {
            "keras": keras_builtin("GlorotUniform"),
            "jax": jax_builtin("glorot_uniform"),
            "torch": torch_builtin("xavier_uniform_"),
        },
        shapes=((512, 512),),
        more=((64, 64), (2048, 2048), (4096, 4096)),
    ),
    Row(
        "Orthogonal",
        ours("Orthogonal"),
        _ORTHOGONAL_PEERS,
        shapes=((100, 300), (512, 512), (3, 3, 256, 256), (2048, 2048)),
        more=((64, 64), (128, 128), (256, 256), (1024, 1024), (4096, 512), (768, 3072)),
    ),
    Row(
        "OrthogonalQR",
        ours("OrthogonalQR"),
        _ORTHOGONAL_PEERS,
        shapes=((512, 512),),
        more=((64, 64), (2048, 2048)),
    ),
    Row(
        "DeltaOrthogonal",
        ours("DeltaOrthogonal"),
        {"jax": jax_builtin("delta_orthogonal")},
        shapes=((3, 3, 256, 256),),
    ),
    Row("Dirac", dirac, {"torch": torch_builtin("dirac_")}, shapes=((3, 3, 256, 256),)),
    Row(
        "Sparse(10)",
        ours("Sparse", connections=10),
        {"torch": torch_builtin("sparse_", sparsity=lambda shape: 1 - 10 / shape[0])},
        shapes=((1024, 1024),),
        more=((256, 256), (4096, 4096)),
    ),
    Row(
        "Sparse(sparsity=0.5)",
        ours("Sparse", sparsity=0.5),
        {"torch": torch_builtin("sparse_", sparsity=0.5)},
        shapes=((1024, 1024),),
        more=((256, 256), (4096, 4096)),
    ),
)


def cases(quick, backend):
    """Return the cases that have a peer on the backend, as tuples (row, shape, dtype)."""
    found = []
    for row in ROWS:
        if len(makers(row, backend)) > 1:
            shapes = row.shapes if quick else sorted(row.shapes + row.more, key=math.prod)
            found += [(row, shape, "float32") for shape in shapes]
            if not quick:
                found.append((row, row.shapes[-1], "bfloat16"))
    return found


def label(row, shape, dtype):
    """Return the name of a case."""
    return f"{row.name}, {'x'.join(map(str, shape))}" + (f", {dtype}" if dtype != "float32" else "")


def makers(row, backend):
    """Return our initializer and the peers on the backend, by name."""
    here = {name: make for name, make in row.peers.items() if name in ("keras", backend)}
    return {OURS: row.ours, **here}


def maker(row_name, name):
    """Return the function that maps a seed to the initializer `name` of a row."""
    row = next(row for row in ROWS if row.name == row_name)
    return row.ours if name == OURS else row.peers[name]
