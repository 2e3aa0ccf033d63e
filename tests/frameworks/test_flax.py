"""The recipe `"flax"` beside Flax' linen itself."""

import jax
import numpy as np
import pytest
import scipy
from flax import linen as nn
from framework_laws import KINDS, P_VALUE, SIZES, Frame, assert_law, model_of
from modes import to_numpy

from keras_initx import initialize
from keras_initx.inspection._inventory import Inventory

DRAWS = 20

# The same layers in linen with the shape of their inputs, by the size; and the ends of the paths of its weights,
# of several gates if there are, by the ends of paths in Keras.
ONE_KERNEL = {"kernel": ["kernel"], "bias": ["bias"]}


def gates(names, first, second):
    return {
        "cell/kernel": [f"{first}{name}/kernel" for name in names],
        "recurrent_kernel": [f"{second}{name}/kernel" for name in names],
    }


MODULES = {
    "dense": (lambda n: (nn.Dense(3 * n), (2, n)), ONE_KERNEL),
    "einsum": (lambda n: (nn.DenseGeneral(2 * n, axis=(-2, -1)), (2, 3, n)), ONE_KERNEL),
    "experts": (lambda n: (nn.DenseGeneral(2 * n, axis=-1, batch_dims=(0,)), (3, 5, n)), ONE_KERNEL),
    "convolution": (lambda n: (nn.Conv(2 * n, (3, 2)), (1, 8, 8, n)), ONE_KERNEL),
    "grouped": (lambda n: (nn.Conv(4 * n, (3,), feature_group_count=2), (1, 8, 2 * n)), ONE_KERNEL),
    "depthwise": (lambda n: (nn.Conv(2 * n, (3, 3), feature_group_count=n), (1, 8, 8, n)), ONE_KERNEL),
    "transposed": (lambda n: (nn.ConvTranspose(3 * n, (4, 4), strides=(2, 2)), (1, 4, 4, n)), ONE_KERNEL),
    "embedding": (lambda n: (nn.Embed(100, n), None), {"embeddings": ["embedding"]}),
    "lstm": (lambda n: (nn.RNN(nn.LSTMCell(2 * n)), (1, 5, n)), gates("ifgo", "i", "h")),
    "rnn": (
        lambda n: (nn.RNN(nn.SimpleCell(2 * n)), (1, 5, n)),
        {"cell/kernel": ["i/kernel"], "recurrent_kernel": ["h/kernel"]},
    ),
    "gru": (lambda n: (nn.RNN(nn.GRUCell(2 * n)), (1, 5, n)), gates("rzn", "i", "h")),
    "attention": (
        lambda n: (nn.MultiHeadDotProductAttention(2), (1, 5, 2 * n)),
        {
            **{f"{name}/kernel": [f"{name}/kernel"] for name in ("query", "key", "value")},
            "attention_output/kernel": ["out/kernel"],
            "attention_output/bias": ["out/bias"],
        },
    ),
    "prelu": (lambda n: (nn.PReLU(), (2, n)), {"alpha": ["negative_slope"]}),
}


def drawn_by_flax(kind, n, seed):
    """Return the arrays of a module by their paths."""
    module, shape = MODULES[kind][0](n)
    inputs = np.zeros((2,), "int32") if shape is None else np.zeros(shape, "float32")
    params = module.init(jax.random.key(seed), inputs)["params"]
    return {
        "/".join(key.key for key in keys): np.asarray(array)
        for keys, array in jax.tree_util.tree_leaves_with_path(params)
    }


@pytest.mark.every_backend
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", MODULES)
def test_a_layer_starts_as_that_of_flax(kind, n):
    there = [drawn_by_flax(kind, n, seed) for seed in range(DRAWS)]
    model = model_of(kind, n)
    drawn = []
    for seed in range(DRAWS):
        initialize(model, "flax", seed=seed)
        drawn.append({weight.path: to_numpy(weight.variable.value) for weight in Inventory(model).weights})
    laws = KINDS[kind].flax(n)
    for end, names in MODULES[kind][1].items():
        law = laws[end]
        arrays = [joined([array[one] for one in pathed(array, names)]) for array in there]
        (path,) = (path for path in drawn[0] if path.endswith(end))
        if isinstance(law, Frame):
            for array, values in zip(arrays, drawn, strict=True):
                assert array.shape == values[path].shape
                assert_law(array, law, f"Flax: {end}")
            continue
        flat = np.concatenate([array.ravel() for array in arrays])
        assert_law(flat, law, f"Flax: {end}")
        here = np.concatenate([values[path].ravel() for values in drawn])
        if np.ptp(flat):
            assert scipy.stats.ks_2samp(flat, here).pvalue > P_VALUE, end


def joined(arrays):
    """Return the arrays of gates beside each other."""
    return np.concatenate([np.atleast_1d(array) for array in arrays], axis=-1)


def pathed(arrays, names):
    """Return the paths of arrays that end with these names."""
    found = []
    for name in names:
        (path,) = (path for path in arrays if f"/{path}".endswith(f"/{name}"))
        found.append(path)
    return found
