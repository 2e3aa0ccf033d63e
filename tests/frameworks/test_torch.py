"""The recipe `"torch"` beside torch.nn itself: each law, and a thousand fresh models."""

import keras
import numpy as np
import pytest
import scipy
import torch
from framework_laws import KINDS, P_VALUE, SIZES, Frame, assert_law, model_of
from modes import to_numpy
from torch import nn
from torch_models import in_keras, in_torch, load

from keras_initx import audit, initialize
from keras_initx.inspection._inventory import Inventory

# How often a layer is made, for enough values also of a bias.
DRAWS = 40

# The same layers in torch, by the size; and the names of its weights by the ends of paths in Keras.
MODULES = {
    "dense": (lambda n: nn.Linear(n, 3 * n), {"kernel": "weight", "bias": "bias"}),
    "convolution": (lambda n: nn.Conv2d(n, 2 * n, (3, 2)), {"kernel": "weight", "bias": "bias"}),
    "grouped": (lambda n: nn.Conv1d(2 * n, 4 * n, 3, groups=2), {"kernel": "weight", "bias": "bias"}),
    "depthwise": (lambda n: nn.Conv2d(n, 2 * n, 3, groups=n), {"kernel": "weight", "bias": "bias"}),
    "separable": (
        lambda n: nn.Sequential(nn.Conv1d(n, 2 * n, 5, groups=n), nn.Conv1d(2 * n, 3 * n, 1)),
        {"depthwise_kernel": "0.weight", "pointwise_kernel": "1.weight", "bias": "1.bias"},
    ),
    "transposed": (lambda n: nn.ConvTranspose2d(n, 3 * n, 4, stride=2), {"kernel": "weight", "bias": "bias"}),
    "embedding": (lambda n: nn.Embedding(100, n), {"embeddings": "weight"}),
    "lstm": (
        lambda n: nn.LSTM(n, 2 * n),
        {"cell/kernel": "weight_ih_l0", "recurrent_kernel": "weight_hh_l0", "bias": "bias_ih_l0 + bias_hh_l0"},
    ),
    "rnn": (
        lambda n: nn.RNN(n, 2 * n),
        {"cell/kernel": "weight_ih_l0", "recurrent_kernel": "weight_hh_l0", "bias": "bias_ih_l0 + bias_hh_l0"},
    ),
    "gru": (
        lambda n: nn.GRU(n, 2 * n),
        {"cell/kernel": "weight_ih_l0", "recurrent_kernel": "weight_hh_l0", "bias": "bias_ih_l0"},
    ),
    "attention": (
        lambda n: nn.MultiheadAttention(2 * n, 2),
        {
            **dict.fromkeys(("query/kernel", "key/kernel", "value/kernel"), "in_proj_weight"),
            "attention_output/kernel": "out_proj.weight",
            **dict.fromkeys(("query/bias", "key/bias", "value/bias"), "in_proj_bias"),
            "attention_output/bias": "out_proj.bias",
        },
    ),
    "attention of three sizes": (
        lambda n: nn.MultiheadAttention(2 * n, 2, kdim=n, vdim=3 * n),
        {
            "query/kernel": "q_proj_weight",
            "key/kernel": "k_proj_weight",
            "value/kernel": "v_proj_weight",
            "attention_output/kernel": "out_proj.weight",
        },
    ),
    "normalization": (
        nn.BatchNorm1d,
        {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"},
    ),
    "prelu": (lambda n: nn.PReLU(), {"alpha": "weight"}),
}


def values_of(module, name):
    """Return the values of a weight of a module, or the sum of two."""
    state = module.state_dict()
    return sum(to_numpy(state[part]).astype("float64") for part in name.split(" + ")).ravel()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", MODULES)
def test_a_layer_starts_as_that_of_torch(kind, n):
    torch.manual_seed(n)
    make, names = MODULES[kind]
    modules = [make(n) for _ in range(DRAWS)]
    model = model_of(kind, n)
    drawn = []
    for seed in range(DRAWS):
        initialize(model, "torch", seed=seed)
        drawn.append({weight.path: to_numpy(weight.variable.value) for weight in Inventory(model).weights})
    laws = KINDS[kind].torch(n)
    for end, name in names.items():
        there = np.concatenate([values_of(module, name) for module in modules])
        assert not isinstance(laws[end], Frame)
        assert_law(there, laws[end], f"torch: {end}")
        (path,) = (path for path in drawn[0] if path.endswith(end))
        here = np.concatenate([values[path].ravel() for values in drawn]).astype("float64")
        if np.ptp(there):
            assert scipy.stats.ks_2samp(there, here).pvalue > P_VALUE, end
        else:
            assert set(here) == set(there), end


def test_a_thousand_fresh_models_of_torch_are_as_the_recipe_says():
    # An alarm by chance is once in a hundred.
    model = in_keras()
    alarms = []
    for seed in range(1000):
        torch.manual_seed(seed)
        load(model, in_torch())
        report = audit(model, "torch")
        assert not report.not_compared
        if not report.ok:
            alarms.append((seed, str(report)))
    assert len(alarms) <= 20, f"{len(alarms)} alarms: {alarms}"


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - MODULES.keys()))
def test_what_torch_has_no_layer_for_is_several_linear_layers(kind):
    assert kind in ("einsum", "experts")
    assert isinstance(model_of(kind, 4).layers[-1], keras.layers.EinsumDense)
