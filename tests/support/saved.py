"""Models that are saved in the names of torch, each with the names and shapes of its source."""

import keras
import numpy as np

from keras_initx import load_pretrained, save_pretrained
from keras_initx.checkpoints._sources import open_source

layers = keras.layers
IMAGE, SEQUENCE = (6, 5, 4), (6, 4)


def built(shape, *stack):
    return keras.Sequential([keras.Input(shape), *stack])


def attention():
    inputs = keras.Input((6, 8))
    return keras.Model(inputs, layers.MultiHeadAttention(2, 4, name="m")(inputs, inputs))


def of_cells(gates, *, name="m", units=3, inputs=4, suffixes=("_l0",)):
    """Return the names and shapes of a recurrent module of torch."""
    shapes = {}
    for suffix in suffixes:
        rows = gates * units
        shapes[f"{name}.weight_ih{suffix}"] = (rows, inputs)
        shapes[f"{name}.weight_hh{suffix}"] = (rows, units)
        shapes[f"{name}.bias_ih{suffix}"] = shapes[f"{name}.bias_hh{suffix}"] = (rows,)
    return shapes


def flattened(*between, rows=60):
    model = built((6, 5, 2), layers.Conv2D(3, 2, name="conv"), *between, layers.Flatten(), layers.Dense(4, name="out"))
    return model, {"conv.weight": (3, 2, 2, 2), "conv.bias": (3,), "out.weight": (4, rows), "out.bias": (4,)}


BATCH = {f"m.{name}": (4,) for name in ("weight", "bias", "running_mean", "running_var")}
ATTENTION = {"m.out_proj.weight": (8, 8), "m.out_proj.bias": (8,)}
SEPARATE = {**dict.fromkeys([f"m.{name}_proj_weight" for name in "qkv"], (8, 8)), "m.in_proj_bias": (24,)}
# For each model a function that makes it, and the names and shapes of its source.
GRAPHS = {
    "dense": lambda: (built((4,), layers.Dense(3, name="m")), {"m.weight": (3, 4), "m.bias": (3,)}),
    "einsum": lambda: (
        built(SEQUENCE, layers.EinsumDense("abc,cde->abde", (None, 2, 5), bias_axes="de", name="m")),
        {"m.weight": (10, 4), "m.bias": (10,)},
    ),
    "embedding": lambda: (built((6,), layers.Embedding(7, 3, name="m")), {"m.weight": (7, 3)}),
    "convolution": lambda: (
        built(IMAGE, layers.Conv2D(6, (3, 2), name="m")),
        {"m.weight": (6, 4, 3, 2), "m.bias": (6,)},
    ),
    "sequence": lambda: (built(SEQUENCE, layers.Conv1D(6, 3, name="m")), {"m.weight": (6, 4, 3), "m.bias": (6,)}),
    "grouped": lambda: (
        built(IMAGE, layers.Conv2D(6, 3, groups=2, name="m")),
        {"m.weight": (6, 2, 3, 3), "m.bias": (6,)},
    ),
    "depthwise": lambda: (
        built(IMAGE, layers.DepthwiseConv2D(3, depth_multiplier=2, name="m")),
        {"m.weight": (8, 1, 3, 3), "m.bias": (8,)},
    ),
    "transposed": lambda: (
        built(IMAGE, layers.Conv2DTranspose(6, 3, name="m")),
        {"m.weight": (4, 6, 3, 3), "m.bias": (6,)},
    ),
    "normalized": lambda: (
        built(IMAGE, layers.BatchNormalization(epsilon=1e-5, name="m")),
        {**BATCH, "m.num_batches_tracked": ()},
    ),
    "lstm": lambda: (built(SEQUENCE, layers.LSTM(3, name="m")), of_cells(4)),
    "gru": lambda: (built(SEQUENCE, layers.GRU(3, name="m")), of_cells(3)),
    "both directions": lambda: (
        built(SEQUENCE, layers.Bidirectional(layers.LSTM(3), name="m")),
        of_cells(4, suffixes=("_l0", "_l0_reverse")),
    ),
    "attention": lambda: (attention(), {"m.in_proj_weight": (24, 8), "m.in_proj_bias": (24,), **ATTENTION}),
    "separate": lambda: (attention(), {**SEPARATE, **ATTENTION}),
    "flattened": flattened,
    "pooled": lambda: flattened(layers.MaxPooling2D(2), rows=12),
    "padded": lambda: flattened(
        layers.Lambda(lambda x: keras.ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))), layers.MaxPooling2D(2), rows=27
    ),
}


def state_of(shapes, seed=0, dtype="float32"):
    """Return arrays of these shapes."""
    random = np.random.default_rng(seed)
    state = {}
    for name, shape in shapes.items():
        is_counter = name.endswith("tracked")
        state[name] = np.array(7, "int64") if is_counter else random.uniform(0.1, 1, shape).astype(dtype)
    return state


def change(model, seed=1):
    """Give each weight other values, as training does."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(keras.ops.cast(random.uniform(0.1, 1, variable.shape), variable.dtype))
    return model


def read(source):
    """Return the arrays of files by name."""
    with open_source(source) as (contents, _):
        return {name: np.asarray(array.read(...), order="C") for name, array in contents.items()}


def assert_same_bits(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].shape, found[name].dtype.name) == (array.shape, array.dtype.name), name
        assert found[name].tobytes() == array.tobytes(), name


def loaded(model, state, names=None):
    return load_pretrained(model, state, names, layout="torch")


def saved(model, path, like, names=None, **options):
    """Save a model and return the arrays of the file."""
    save_pretrained(model, path, names, like=like, layout=options.pop("layout", "torch"), **options)
    return read(path)
