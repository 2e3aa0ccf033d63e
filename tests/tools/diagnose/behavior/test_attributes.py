"""The attributes of models, layers and modules are after a diagnosis as they were, whatever a call sets."""

import contextlib

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND, everywhere, to_numpy

import keras_initx
import keras_initx.tools.initialize

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 3)).astype("float32")

# Keras warns of a layer that a model never calls.
pytestmark = pytest.mark.filterwarnings(r"ignore:`build\(\)` was called")

needs_torch = pytest.mark.skipif(BACKEND != "torch", reason="modules of torch need torch")


def wrapped():
    """Return a model around a module of torch that keeps moving averages, and the module."""
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
    model = keras.Sequential([keras.Input((6,)), layers.TorchModuleWrapper(module), layers.Dense(3)])
    return model, module


def attributes(model):
    """Return the attributes of a model and of its layers."""
    return [dict(vars(part)) for part in (model, *model.layers)]


def small_model():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "tanh", name="hidden"), layers.Dense(3, name="out")])
    model.compile("sgd", "mse", run_eagerly=BACKEND != "jax")
    return model


def test_a_diagnosis_leaves_no_attribute_in_a_model():
    model = small_model()
    model(X)  # Keras notes the first call
    before = attributes(model)
    keras_initx.diagnose(model, X, Y)
    for found, expected in zip(attributes(model), before, strict=True):
        assert found.keys() == expected.keys()
        assert all(found[name] is expected[name] for name in expected)


def test_a_study_leaves_no_attribute_in_a_model():
    made = []

    def build(initializer):
        made.append(small_model())
        return made[-1]

    plain = small_model()
    plain.fit(X, Y, validation_data=(X, Y), verbose=0)
    expected = [found.keys() for found in attributes(plain)]
    splits = (X, Y), (X, Y)
    study = keras_initx.compare_initializers(build, ["zeros", "ones"], splits, repeats=1, epochs=1)
    assert {trial["status"] for trial in study.trials.values()} == {"finished"}
    assert [[found.keys() for found in attributes(model)] for model in made] == [expected] * 2


class ActNorm(layers.Layer):
    """A layer that starts from its first data, and remembers in plain attributes that it has."""

    def __init__(self, **options):
        super().__init__(**options)
        self.ready = False
        self.seen = []

    def build(self, shape):
        self.shift = self.add_weight((shape[-1],), "zeros", name="shift")
        self.built_for = shape

    def call(self, x):
        if not self.ready and is_concrete(x):
            self.shift.assign(-keras.ops.mean(x, 0))
            self.ready = True
            self.seen.append(len(x))
            self.last = x
        return x + self.shift


def is_concrete(tensor):
    with contextlib.suppress(Exception):
        keras.ops.convert_to_numpy(keras.ops.stop_gradient(tensor))
        return not isinstance(tensor, keras.KerasTensor) and "meta" not in str(getattr(tensor, "device", ""))
    return False


class Started(keras.Model):
    def __init__(self):
        super().__init__()
        self.norm, self.out = ActNorm(), layers.Dense(3)

    def call(self, x):
        return self.out(self.norm(x))


@pytest.mark.parametrize("is_built", everywhere([True, False], [True], others=[pytest.mark.release_backends]))
def test_plain_attributes_that_call_sets_are_put_back(is_built):
    model = Started()
    if is_built:
        model.build((None, 6))
    model.compile("adam", "mse")
    report = keras_initx.diagnose(model, X + 5, Y, steps=2)
    keras_initx.record_outputs(model, X + 5)
    norm = model.norm
    assert (norm.ready, list(norm.seen), hasattr(norm, "last")) == (False, [], False)
    assert tuple(norm.built_for)[-1] == 6
    assert not to_numpy(norm.shift).any()
    assert "wrapping activation" not in [verdict.problem for verdict in report.verdicts]
    model(X + 5)
    np.testing.assert_allclose(to_numpy(norm.shift), -(X + 5).mean(0), rtol=1e-4)


def test_weights_that_call_assigns_get_the_gradient_of_training():
    if BACKEND == "jax":
        pytest.skip("in a trace the layer does not start")
    model = Started()
    model.build((None, 6))
    report = keras_initx.diagnose(model, X + 5, Y, loss="mse")
    assert report.rows[0].gradient.norm > 0


@needs_torch
def test_plain_attributes_of_modules_are_put_back():
    import torch

    class Starting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.ready = False
            self.shift = torch.nn.Parameter(torch.zeros(6))

        def forward(self, x):
            if x.device.type != "meta":
                self.ready = True
            return x + self.shift

    module = Starting()
    model = keras.Sequential([keras.Input((6,)), layers.TorchModuleWrapper(module), layers.Dense(3)])
    module.ready = False
    model.compile("adam", "mse")
    keras_initx.diagnose(model, X + 5, Y, steps=2)
    assert not module.ready


@needs_torch
@pytest.mark.parametrize("steps", [0, 2])
def test_a_module_that_sets_its_parameters_at_the_first_call_is_as_before(steps):
    """As the ActNorm of a flow: with its flag put back and its parameters not, it would set them twice."""
    import torch

    class DataDependent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = torch.nn.Parameter(torch.zeros(1, 6))
            self.register_buffer("ready", torch.tensor(False))

        def forward(self, x):
            if x.device.type != "meta" and not self.ready:
                self.loc.data.copy_(-x.mean(0, keepdim=True))
                self.ready.fill_(True)
            return x + self.loc

    module = DataDependent()
    model = keras.Sequential([keras.Input((6,)), layers.TorchModuleWrapper(module), layers.Dense(3)])
    module.loc.data.zero_()
    module.ready.fill_(False)
    model.compile("sgd", "mse")
    keras_initx.diagnose(model, X + 5, Y, steps=steps)
    assert not module.ready
    assert not module.loc.detach().any()


@needs_torch
def test_steps_train_the_parameters_of_a_module():
    import torch

    model, module = wrapped()
    model.compile(keras.optimizers.Adam(0.001), "mse")
    before = [parameter.detach().clone() for parameter in module.parameters()]
    report = keras_initx.diagnose(model, X, Y, steps=5)
    assert "diverging steps" not in [verdict.problem for verdict in report.verdicts]
    assert all(map(torch.equal, before, module.parameters()))
