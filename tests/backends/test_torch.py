"""What only torch does."""

import types

import keras
import pytest
from chains import chain, means
from keras import layers
from modes import BACKEND, to_numpy

import keras_initx
from keras_initx.backends._current import backend

pytestmark = pytest.mark.every_backend


@pytest.mark.skipif(BACKEND != "torch", reason="devices of torch")
@pytest.mark.parametrize(("kind", "accelerated"), [("cuda", True), ("xpu", True), ("mps", False)])
def test_the_devices_of_torch_that_make_values(monkeypatch, kind, accelerated):
    import torch

    monkeypatch.setattr(keras.ops, "empty", lambda shape: types.SimpleNamespace(device=torch.device(kind)))
    assert backend.on_accelerator() is accelerated


only_torch = pytest.mark.skipif(BACKEND != "torch", reason="arrays share the memory of weights of torch only")


@only_torch
@pytest.mark.usefixtures("shared_memory")
def test_an_array_that_is_read_backward_from_behind_the_weights_is_as_it_was():
    import torch

    model = chain(2)
    values = [weight.value.detach() for weight in model.weights]
    whole = torch.stack([*values, torch.full((2, 2), 7.0)])
    for weight, part in zip(model.weights, whole, strict=False):
        weight.value.data = part
    rules = {"dense/kernel": ("whole", 0), "dense_1/kernel": ("whole", 3), "dense_2/kernel": ("whole", 2)}
    keras_initx.load_pretrained(model, {"whole": whole.numpy()[::-1]}, rules, layout="keras")
    assert means(model) == [7, 0, 1]


@only_torch
def test_a_layer_may_have_a_parameter_of_torch_beside_its_weights():
    import torch

    class Both(layers.Dense):
        def build(self, shape):
            super().build(shape)
            self.scale = torch.nn.Parameter(torch.ones(3))

    model = keras.Sequential([keras.Input((4,)), Both(3, name="both")])
    plan = keras_initx.initialize(model, {"both/kernel": "ones", "*": "zeros"}, seed=0)
    assert [weight.path for weight in plan.rows] == ["both/kernel", "both/bias"]
    assert to_numpy(model.weights[0]).sum() == 12
