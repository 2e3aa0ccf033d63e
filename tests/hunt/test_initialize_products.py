"""Tools for whole models on each kind of model in each state: quantized, with LoRA, stateful, frozen since."""

import functools
import itertools

import keras
import numpy as np
import pytest
from modes import needs_int4, to_numpy

from keras_initx import diagnose, initialize, load_pretrained, lsuv, weights_digest

layers, optimizers = keras.layers, keras.optimizers
RNG = np.random.default_rng(0)
X = {shape: RNG.normal(size=(8, *shape)).astype("float32") for shape in [(6,), (5, 6), (6, 6, 4)]}
Y = RNG.normal(size=(8, 3)).astype("float32")


class Fill(keras.initializers.Initializer):
    """Has no config."""

    def __init__(self, value):
        self.value = value

    def __call__(self, shape, dtype=None):
        # Units that differ, so that no tool takes them for copies.
        return keras.ops.cast(self.value * np.random.default_rng(3).normal(size=shape), dtype or "float32")


class AdamForEach(optimizers.Adam):
    """Has no config of its own."""

    def __init__(self, learning_rate, factors):
        super().__init__(learning_rate)
        self.factors = factors


class Block(layers.Layer):
    """Keeps no initializer, and makes a layer."""

    def __init__(self, **options):
        super().__init__(**options)
        self.made = layers.Dense(6, "tanh")

    def build(self, shape):
        self.scale = self.add_weight(shape=(6,), initializer="ones", name="scale")
        self.made.build(shape)

    def call(self, x):
        return self.made(x) * self.scale


def dense(initializer="glorot_uniform"):
    hidden = layers.Dense(6, "tanh", kernel_initializer=initializer, name="hidden")
    return keras.Sequential([keras.Input((6,)), hidden, layers.Dense(3, name="logits")])


def embedding():
    flat = layers.GlobalAveragePooling1D()
    return keras.Sequential([keras.Input((6,)), layers.Embedding(9, 4, name="hidden"), flat, layers.Dense(3)])


def einsum():
    hidden = layers.EinsumDense("abc,cd->abd", (5, 4), bias_axes="d", name="hidden")
    return keras.Sequential([keras.Input((5, 6)), hidden, layers.Flatten(), layers.Dense(3)])


def convolution(**options):
    hidden = layers.Conv2D(8, 3, name="hidden", **options)
    return keras.Sequential([keras.Input((6, 6, 4)), hidden, layers.Flatten(), layers.Dense(3)])


def stateful(layer):
    return keras.Sequential([keras.Input(batch_shape=(8, 5, 6)), layer(), layers.Dense(3)])


MODELS = {
    "dense": dense,
    "embedding": embedding,
    "einsum": einsum,
    "convolution": convolution,
    "groups": functools.partial(convolution, groups=2),
    "LSTM": lambda: stateful(lambda: layers.LSTM(3, stateful=True, name="hidden")),
    "both directions": lambda: stateful(lambda: layers.Bidirectional(layers.GRU(3, stateful=True), name="hidden")),
    "block": lambda: keras.Sequential([keras.Input((6,)), Block(name="hidden"), layers.Dense(3)]),
    "no config": lambda: dense(Fill(0.5)),
}


def train(model, x, optimizer="adam"):
    model.compile(optimizer, "mse", metrics=["mae"])
    model.fit(x, Y, batch_size=8, verbose=0)


def quantize(model, x, mode, rank=None):
    if rank:
        model.layers[0].enable_lora(rank)
    model.layers[0].quantize(mode)


def freeze(model, x):
    train(model, x)
    model.layers[0].trainable = False


def adapt(model, x):
    train(model, x)
    model.layers[0].enable_lora(2)


STATES = {
    "new": lambda model, x: None,
    "trained": train,
    "own optimizer": lambda model, x: train(model, x, AdamForEach(0.01, [1.0])),
    "scaled loss": lambda model, x: train(model, x, optimizers.LossScaleOptimizer(AdamForEach(0.01, [1.0]), 8.0)),
    "frozen since": freeze,
    "LoRA since": adapt,
    "int8": lambda model, x: quantize(model, x, "int8"),
    "int4": lambda model, x: quantize(model, x, "int4"),
    "float8": lambda model, x: quantize(model, x, "float8"),
    "LoRA and int8": lambda model, x: quantize(model, x, "int8", 2),
}
# Which layers can be quantized, and which take LoRA.
QUANTIZED = {"dense", "einsum", "embedding", "no config"}
ADAPTED = QUANTIZED | {"convolution"}


def possible(tool, model, state):
    if tool == "load_pretrained" and state in ("int8", "int4", "float8", "LoRA and int8"):
        return False
    if state == "float8":
        return model in QUANTIZED - {"embedding"}
    if "int" in state:
        return model in QUANTIZED
    if model in ("LSTM", "both directions"):
        return state == "new"  # Keras cannot train them with every version of torch
    return state != "LoRA since" or model in ADAPTED


def check_initialize(model, x):
    plans = [initialize(model, seed=0), initialize(model, seed=1)]
    second = weights_digest(model)
    plans.append(initialize(model, seed=0))
    assert [plan.left for plan in plans] == [plans[0].left] * 3
    first = weights_digest(model)
    initialize(model, seed=1)
    assert weights_digest(model) == second != first


def check_dry_run(model, x):
    before = weights_digest(model)
    stem, _, number = [layers.Dense(1).name for _ in range(2)][-1].rpartition("_")
    initialize(model, seed=0, dry_run=True)
    assert layers.Dense(1).name == f"{stem}_{int(number) + 1}"
    assert weights_digest(model) == before


def check_lsuv(model, x):
    rows = lsuv(model, x, seed=0).rows
    assert all(row.status != "scaled" or abs(row.after - 1) <= 0.1 for row in rows)


def check_diagnose(model, x):
    before = weights_digest(model)
    assert diagnose(model, x).rows
    assert weights_digest(model) == before


def check_load_pretrained(model, x):
    before = weights_digest(model)
    load_pretrained(model, model)
    assert weights_digest(model) == before


TOOLS = {name.removeprefix("check_"): tool for name, tool in list(globals().items()) if name.startswith("check_")}


def cases():
    """Return a row for each state of a dense model, and two for each other, with the possible tools in turn."""
    turns = itertools.cycle(TOOLS)
    pairs = [("dense", state) for state in STATES]
    for place, model in enumerate(MODELS):
        states = [state for state in STATES if any(possible(tool, model, state) for tool in TOOLS)]
        pairs += [(model, state) for state in {states[0], states[place % len(states)]} if model != "dense"]
    return [
        pytest.param(tool, model, state, marks=[needs_int4] if state == "int4" else [])
        for model, state in sorted(pairs)
        for tool in [next(tool for tool in turns if possible(tool, model, state))]
    ]


@pytest.mark.every_backend
@pytest.mark.parametrize(("tool", "model", "state"), cases())
def test_a_tool_for_whole_models(tool, model, state):
    made = MODELS[model]()
    x = X[made.input_shape[1:]]
    if model == "embedding":
        x = abs(x * 4).astype("int32") % 9
    STATES[state](made, x)
    before = to_numpy(made(x))
    TOOLS[tool](made, x)
    after = to_numpy(made(x))
    assert abs(after).max() < 20 * max(1, abs(before).max())
