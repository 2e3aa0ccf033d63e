"""Examples are alike by their inputs, or by the network."""

import keras
import numpy as np
import pytest
from judged import SEQUENCES, found
from keras import layers, ops
from modes import BACKEND, everywhere

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


# The same for all examples, though gradients pass.


def spike(x):
    """Give ones above 1, with the slope of a smooth step."""
    over = x - 1
    smooth = over / (1 + ops.abs(over))
    return smooth + ops.stop_gradient(ops.cast(over > 0, x.dtype) - smooth)


class Spike(layers.Layer):
    def __init__(self, threshold, name):
        super().__init__(name=name)
        self.threshold = threshold

    def call(self, x):
        return spike(x + 1 - self.threshold)


def spiking(threshold, before=(), after=(), **options):
    stack = [*before, layers.Dense(24, name="hidden"), Spike(threshold, "spike"), *after]
    return keras.Sequential(
        [keras.Input((16,)), *stack, layers.Dense(16), Spike(0.1, "last"), layers.Dense(1, **options)]
    )


class Written(keras.Model):
    """Spikes in the code of the model."""

    def __init__(self, threshold):
        super().__init__(name="written")
        self.hidden, self.out, self.threshold = layers.Dense(24, name="hidden"), layers.Dense(1, name="out"), threshold

    def call(self, x):
        return self.out(spike(self.hidden(x) + 1 - self.threshold))


def activated(threshold):
    hidden = layers.Dense(24, lambda x: spike(x + 1 - threshold), name="hidden")
    return keras.Sequential([keras.Input((16,)), hidden, layers.Dense(1)])


CONSTANT = {
    "a layer": (spiking, "spike"),
    "a layer before dropout": (lambda threshold: spiking(threshold, after=[layers.Dropout(0.5)]), "spike"),
    "a layer behind a frozen one": (
        lambda threshold: spiking(threshold, before=[layers.Dense(16, trainable=False)]),
        "spike",
    ),
    "an activation": (activated, "hidden"),
    "the code of a model": (Written, "the code between hidden and out"),
}
Y = X[:, :1] * X[:, 1:2]


def named(model, x=X, y=Y):
    return [(one.problem, one.evidence) for one in keras_initx.diagnose(model, x, y, loss="mse").problems]


@pytest.mark.parametrize(
    "name",
    everywhere(CONSTANT, ["a layer", "an activation", "the code of a model"], others=[pytest.mark.release_backends]),
)
def test_what_gives_the_same_for_all_examples_is_named_though_gradients_pass(name):
    build, title = CONSTANT[name]
    keras.utils.set_random_seed(0)
    ((problem, evidence),) = named(build(30.0))
    assert problem == "alike"
    assert f"{title} gives 0 for all examples, although its inputs go from -" in evidence
    assert named(build(1.5)) == []  # a few ones


def test_a_layer_that_is_the_same_for_all_by_its_values_has_its_own_verdict():
    dead = layers.Dense(16, "relu", bias_initializer=keras.initializers.Constant(-30.0))
    model = keras.Sequential([keras.Input((16,)), layers.Dense(16), dead, layers.Dense(1)])
    assert [problem for problem, _ in named(model)] == ["dead units"]
    assert named(spiking(1.0, kernel_initializer="zeros")) == []
    tiny = layers.Dense(16, "tanh", kernel_initializer=keras_initx.RandomNormal(stddev=1e-9))
    model = keras.Sequential([keras.Input((16,)), tiny, layers.Dense(1, bias_initializer="ones")])
    assert [problem for problem, _ in named(model)] == ["vanishing"]
    # The units of the last layer are equal, and so are their probabilities.
    kernels = {"kernel_initializer": keras.initializers.Constant(0.1)}
    model = keras.Sequential(
        [keras.Input((16,)), layers.Dense(8, "tanh", **kernels), layers.Dense(3, "softmax", **kernels)]
    )
    assert [problem for problem, _ in named(model, y=np.eye(3)[np.arange(len(X)) % 3])] == ["equal units"]


class Table(layers.Layer):
    """Gives learned queries, which are the same for all examples, or puts them before the inputs."""

    def __init__(self, is_token):
        super().__init__()
        self.is_token = is_token

    def build(self, shape):
        self.table = self.add_weight((1, 2, shape[-1]), "uniform", name="table")

    def call(self, x):
        table = ops.repeat(self.table, ops.shape(x)[0], axis=0)
        return ops.concatenate([table, x], axis=1) if self.is_token else table


@pytest.mark.parametrize("is_token", [True, False])
def test_queries_and_tokens_that_all_examples_share_are_well(is_token):
    inputs = keras.Input((10, 16))
    hidden = Table(is_token)(inputs)
    if not is_token:
        hidden = layers.MultiHeadAttention(2, 8)(hidden, inputs)
    assert named(keras.Model(inputs, layers.Dense(1)(layers.Flatten()(hidden))), SEQUENCES) == []
