"""Quantized layers keep their integers, and with them their scales and biases."""

import keras
import numpy as np
import pytest
from modes import needs_int4, to_numpy
from stacks import assert_equal

from keras_initx import initialize, load_pretrained
from keras_initx.inspection._inventory import Inventory

layers = keras.layers

LAYERS = {
    "dense": (lambda: layers.Dense(8, bias_initializer="ones", name="hidden"), (16,)),
    "embedding": (lambda: layers.Embedding(20, 8, name="hidden"), (5,)),
    "einsum": (lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de", name="hidden"), (5, 16)),
}


def quantized(mode, kind="dense", rank=None):
    make, shape = LAYERS[kind]
    model = keras.Sequential([keras.Input(shape), make(), layers.Dense(3, name="logits")])
    if rank:
        model.layers[0].enable_lora(rank)
    model.layers[0].quantize(mode)
    return model


def arrays(model, layer=""):
    weights = [weight for weight in Inventory(model).weights if weight.path.startswith(layer)]
    return {weight.path: to_numpy(weight.variable.value).copy() for weight in weights}


@pytest.mark.parametrize("mode", ["int8", pytest.param("int4", marks=needs_int4)])
def test_initialize_leaves_a_quantized_layer(mode):
    model = quantized(mode)
    hidden, logits = arrays(model, "hidden"), arrays(model, "logits")
    plan = initialize(model, seed=0)
    assert {weight.path: weight.detail for weight in plan.left} == dict.fromkeys(hidden, "quantized")
    assert_equal(arrays(model, "hidden"), hidden)
    assert not np.array_equal(arrays(model)["logits/kernel"], logits["logits/kernel"])


def test_rules_for_a_quantized_layer_are_refused():
    model = quantized("int8")
    before = arrays(model)
    required = r"`rules` must leave quantized layers unchanged.*'hidden/\w+', whose layer is"
    for rules in ({"*": "zeros"}, {"*/bias": "ones"}, {layers.Dense: "zeros"}):
        with pytest.raises(ValueError, match=required):
            initialize(model, rules, seed=0)
        assert_equal(arrays(model), before)
        assert len(initialize(model, {"hidden/*": None, **rules}, seed=0, dry_run=True).left) == 3


def test_the_factors_of_an_adapter_beside_quantized_weights_are_drawn():
    model = quantized("int8", rank=2)
    before = arrays(model)
    plan = initialize(model, {"*lora_kernel_a": "he_uniform", "*lora_kernel_b": "zeros", "*": None}, seed=0)
    drawn = [weight.path for weight in plan.rows if weight.initializer]
    assert drawn == ["hidden/lora_kernel_a", "hidden/lora_kernel_b"]
    after = arrays(model)
    assert [path for path in before if not np.array_equal(before[path], after[path])] == ["hidden/lora_kernel_a"]


def test_a_layer_in_float8_is_drawn():
    model = quantized("float8")
    before = arrays(model)
    assert not initialize(model, seed=0).left
    assert not np.array_equal(arrays(model)["hidden/kernel"], before["hidden/kernel"])


def test_a_layer_without_integers_is_drawn_under_a_quantized_policy():
    model = keras.Sequential([keras.Input((4,)), layers.LayerNormalization(dtype="int8_from_float32")])
    assert not initialize(model, seed=0).left


@pytest.mark.rare
@pytest.mark.parametrize(
    ("mode", "kind", "rank"),
    [
        ("int8", "dense", 2),
        pytest.param("int4", "embedding", None, marks=needs_int4),
        ("float8", "einsum", None),
    ],
)
def test_a_quantized_model_is_loaded_from_another(mode, kind, rank):
    source, model = quantized(mode, kind, rank), quantized(mode, kind, rank)
    load_pretrained(model, source)
    assert_equal(arrays(model), arrays(source))
