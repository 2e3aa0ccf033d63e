"""Examples are alike by their inputs, or by the network."""

import keras
import numpy as np
import pytest
from judged import SEQUENCES, found
from keras import layers
from modes import BACKEND

import keras_initx


def test_inputs_that_are_alike_are_not_made_so_by_the_network():
    stack = [layers.Dense(16, name="first"), layers.LayerNormalization(name="norm"), layers.Dense(5)]
    model = keras.Sequential([keras.Input((10, 16)), *stack])
    assert found(model, np.tile(SEQUENCES[:1], (32, 1, 1))) == {}
    assert found(model, np.tile(SEQUENCES[:, :1], (1, 10, 1))) == {}


def around_torch(build, *before):
    """Return a model that ends in the module of torch that `build` gives, with weights of a seed."""
    import torch

    torch.manual_seed(0)
    return keras.Sequential([keras.Input((16,)), *before, layers.TorchModuleWrapper(build(torch.nn), name="module")])


def deep(nn, last=(), depth=12):
    hidden = [part for _ in range(depth) for part in (nn.Linear(16, 16), nn.Sigmoid())]
    return nn.Sequential(*hidden, *last, nn.Linear(16, 5))


def parametrized(nn):
    module = deep(nn)
    nn.utils.parametrizations.weight_norm(module[-1])
    return module


X = SEQUENCES[:, 0]
needs_torch = pytest.mark.skipif(BACKEND != "torch", reason="modules of torch need torch")


@pytest.mark.rare
@needs_torch
@pytest.mark.parametrize(
    ("build", "before"),
    [
        (deep, []),
        (deep, [layers.Dense(16, name="first")]),
        (lambda nn: nn.Sequential(deep(nn)), []),
        (lambda nn: deep(nn, [nn.Dropout(0.5)]), []),
        (parametrized, []),
    ],
    ids=["alone", "after a layer", "nested", "with dropout", "parametrized"],
)
def test_a_module_of_torch_makes_examples_alike_as_layers_do(build, before):
    model = around_torch(build, *before)
    (verdict,) = keras_initx.diagnose(model, X).verdicts
    assert verdict.problem == "alike"
    assert "the inputs of the last kernel in module differ between examples by" in verdict.evidence


@needs_torch
@pytest.mark.parametrize(
    "build",
    [lambda nn: deep(nn, depth=1), lambda nn: nn.Linear(16, 5), lambda nn: deep(nn, [nn.BatchNorm1d(16)], depth=3)],
    ids=["shallow", "a layer", "normalized"],
)
def test_a_module_of_torch_that_tells_examples_apart_is_well(build):
    model = around_torch(build)
    hooks = [part._forward_pre_hooks for part in model.layers[-1].module.modules()]
    assert "alike" not in found(model, X)
    assert not any(hooks)


@needs_torch
def test_of_a_module_of_torch_that_gets_indices_it_is_not_known_how_much_they_differ():
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Embedding(50, 16), *deep(torch.nn))
    model = keras.Sequential([keras.Input((4,), dtype="int32"), layers.TorchModuleWrapper(module)])
    assert "alike" not in found(model, np.arange(128).reshape(32, 4) % 50)
