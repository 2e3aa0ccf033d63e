"""Run by torch in two processes: a model with `DTensor`s of Keras' `ModelParallel`, and a whole one."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch.distributed.tensor import DTensor

import keras_initx
from keras_initx import weights_digest

X = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
Y = np.arange(8) % 4


def build():
    kernel = keras_initx.HeNormal(seed=1)
    stack = [layers.Dense(6, "relu", kernel_initializer=kernel, name="split"), layers.Dense(4, name="whole")]
    model = keras.Sequential([keras.Input((5,)), *stack])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


keras.distribution.initialize()
plain = build()
mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "units"), keras.distribution.list_devices())
layout = keras.distribution.LayoutMap(mesh)
layout[".*split/kernel"] = (None, "units")
layout[".*split/bias"] = ("units",)
distribution = keras.distribution.ModelParallel(layout_map=layout, auto_shard_dataset=False)


def assert_split(model):
    """Assert that each process has a half of the first layer."""
    kernel, bias, *others = (weight.value for weight in model.weights)
    assert isinstance(kernel, DTensor)
    assert isinstance(bias, DTensor)
    assert (kernel.to_local().shape, bias.to_local().shape) == ((5, 3), (3,))
    assert not any(isinstance(other, DTensor) for other in others)


with distribution.scope():
    model = build()
    assert_split(model)
    for one, other in zip(model.layers[0].weights, plain.layers[0].weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))
    for rules in ({"*kernel": "initx.orthogonal"}, "torch"):
        keras_initx.initialize(plain, rules, seed=2)
        plan = keras_initx.initialize(model, rules, seed=2)
        assert weights_digest(model) == weights_digest(plain)
        for compared in (plan, rules):
            assert keras_initx.audit(model, compared).ok
        assert keras_initx.audit(model, like=plain).ok
    kernel = model.layers[0].kernel
    kernel.assign(1.5 * keras.ops.convert_to_numpy(kernel))
    assert [row.path for row in keras_initx.audit(model, plan).problems] == ["split/kernel"]
    assert not keras_initx.compare_outputs(model, X, like=plain).ok
    keras_initx.load_pretrained(model, plain)
    assert weights_digest(model) == weights_digest(plain)

    recorded = keras_initx.record_outputs(model, X, y=Y)
    report = keras_initx.compare_outputs(plain, X, y=Y, like=recorded)
    assert report.ok, report
    assert report.step.ok, report
    reports = [keras_initx.diagnose(each, X, Y, steps=2) for each in (model, plain)]
    np.testing.assert_allclose(*(report.losses for report in reports), rtol=1e-5)
    for first, second in zip(*(report.rows for report in reports), strict=True):
        np.testing.assert_allclose(first.after.std, second.after.std, rtol=1e-5)
        np.testing.assert_allclose(first.gradient.norm, second.gradient.norm, rtol=1e-5)

    # Values in memory are not taken for one array because of the address that all `DTensor`s show.
    layout[".*split_2/kernel"] = (None, "units")
    square = keras.Sequential([keras.Input((6,)), layers.Dense(6, name="split"), layers.Dense(6, name="split_2")])
    arrays = {weight.path: weight.value for weight in square.weights}
    assert keras_initx.audit(arrays, like=square).summary.startswith("4 of 4 weights are as in the other model")

# Without a layout Keras does not distribute what it assigns.
kernel._layout = None
with pytest.raises(ValueError, match="whose 'split/kernel' is a `DTensor` of torch without a layout of Keras"):
    keras_initx.initialize(model, seed=0)
torch.distributed.destroy_process_group()
