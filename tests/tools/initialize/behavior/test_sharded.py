"""Functions for whole models, of models that are spread over devices: nothing of them is left on the host."""

import weakref

import keras
import numpy as np
import pytest
from meshes import distribution, mesh_of
from modes import BACKEND, often

import keras_initx
from keras_initx.backends._current import backend
from keras_initx.types import Channels, Units

if BACKEND == "jax":
    import jax

pytestmark = pytest.mark.skipif(BACKEND != "jax", reason="Keras shards variables on JAX only")
layers = keras.layers
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(8, 16)).astype("float32")


def network(dtype="float32"):
    stack = []
    for name, units in {"first": 24, "last": 8}.items():
        stack.append(layers.Dense(units, "relu", name=name, dtype=dtype))
    return keras.Sequential([keras.Input((16,)), *stack])


def sharded(make=network, parts=(2, 4)):
    """Return a model whose kernels are in parts along both axes."""
    layout_map = distribution.LayoutMap(mesh_of(parts))
    layout_map[".*kernel"] = ("inputs", "units")
    with distribution.ModelParallel(layout_map=layout_map).scope():
        model = make()
        keras_initx.initialize(model, seed=0)
        model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
        model.optimizer.build(model.trainable_variables)
    return model


def partly_loaded(model):
    """Load one kernel, and half of another."""
    with keras_initx.loading(model, seed=1) as loaded:
        first, last = model.layers
        first.kernel.assign(np.ones(first.kernel.shape))
        values = backend.host_view(last.kernel.value).copy()
        values[:12] = 2
        last.kernel.assign(values)
    return loaded


# An audit of a sharded model is in `tests/tools/audit/test_subjects.py`.
CALLS = {
    "weights_digest": keras_initx.weights_digest,
    "diagnose": lambda model: keras_initx.diagnose(model, X),
    "audit": keras_initx.audit,
    "contract": lambda model: keras_initx.audit(network(), like=keras_initx.contract(model)),
    "initialize": lambda model: keras_initx.initialize(model, {"first/kernel": "initx.orthogonal"}, seed=1),
    "load_pretrained": lambda model: keras_initx.load_pretrained(model, network()),
    "lsuv": lambda model: keras_initx.lsuv(model, X, seed=1),
    "loading": partly_loaded,
}


@pytest.mark.every_backend
@pytest.mark.parametrize("name", often(CALLS, ["initialize"]))
def test_no_function_leaves_a_copy_on_the_host(name):
    """JAX keeps what NumPy gathers of an array, as long as the array lives."""
    model = sharded()
    before = [variable.value for variable in model.variables]
    CALLS[name](model)
    for value in [*before, *(variable.value for variable in model.variables)]:
        assert value._npy_value is None


@pytest.mark.every_backend
@pytest.mark.parametrize("parts", [(2, 4), (8, 1)])
def test_a_model_is_loaded_from_a_sharded_one_and_keeps_its_layout(parts):
    source = sharded(parts=parts)
    model = sharded()
    keras_initx.initialize(model, seed=1)
    keras_initx.load_pretrained(model, source, {"*/kernel": "{0}/kernel"})
    for own, given in zip(model.layers, source.layers, strict=True):
        np.testing.assert_array_equal(own.kernel, given.kernel)
        assert own.kernel.value is not given.kernel.value  # training frees the memory of what it replaces
        assert own.kernel.value.sharding.mesh.shape["inputs"] == 2


@pytest.mark.every_backend
@pytest.mark.parametrize("axis", [0, 1])
def test_a_sharded_weight_gets_its_parts_of_an_array_that_is_resized(axis):
    model, kernel = sharded(), np.random.default_rng(1).normal(size=(24, 5)).astype("float32")
    source = {"last/kernel": kernel, "first/kernel": np.ones((9, 24), "float32")}
    name, kind = [("first/kernel", Channels(9, 16)), ("last/kernel", "units")][axis]
    layout = model.get_layer(name[:-7]).kernel.value.sharding
    keras_initx.load_pretrained(model, source, {name: name}, layout="keras", resize={name: kind})
    found = model.get_layer(name[:-7]).kernel
    expected = (Channels(9, 16) if axis == 0 else Units()).resized(source[name], axis, found.shape[axis])
    np.testing.assert_array_equal(found, expected.astype("float32"))
    assert found.value.sharding == layout


@pytest.mark.rare
@pytest.mark.every_backend
def test_a_model_is_loaded_from_one_on_the_same_devices_of_another_dtype():
    source = sharded()
    model = sharded(lambda: network("bfloat16"))
    keras_initx.load_pretrained(model, source)
    for own, given in zip(model.layers, source.layers, strict=True):
        np.testing.assert_array_equal(own.kernel, np.asarray(given.kernel).astype("bfloat16"))


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", often(["float32", "bfloat16"], ["float32"]))
def test_what_loading_misses_is_drawn_in_the_layout_of_the_weight(dtype):
    if dtype == "bfloat16" and jax.__version_info__ < (0, 6):
        pytest.skip("JAX 0.5 loses the bits of NaN where it moves bfloat16 between layouts, as the docstring says")
    model = sharded(lambda: network(dtype))
    plain = network(dtype)
    layouts = [variable.value.sharding for variable in model.weights]
    assert partly_loaded(model).rows == partly_loaded(plain).rows
    assert [variable.value.sharding for variable in model.weights] == layouts
    assert keras_initx.weights_digest(model) == keras_initx.weights_digest(plain)


@pytest.mark.every_backend
@pytest.mark.parametrize(("number", "place"), [(-np.inf, (0, 0)), (np.nan, (15, 23))])
def test_a_number_that_is_not_finite_is_found_in_any_shard(number, place):
    kernel = sharded().layers[0].kernel
    values = np.array(kernel)
    assert backend.is_finite(kernel.value)
    values[place] = number
    kernel.assign(values)
    assert not backend.is_finite(kernel.value)


@pytest.mark.release_backends
def test_what_a_weight_was_placed_from_is_gone_before_the_next_is_drawn(monkeypatch):
    model = sharded(lambda: keras.Sequential([keras.Input((512,)), layers.Dense(1024, name="only")]))
    drawn = []
    to_tensor = backend.to_tensor

    def watch(array):
        drawn.append(weakref.ref(array if array.base is None else array.base))  # of which the memory is
        return to_tensor(array)

    def assign_then(variable, value):
        still_there.append(any(reference() is not None for reference in drawn))
        return assign(variable, value)

    still_there = []
    assign = keras.Variable.assign
    monkeypatch.setattr(backend, "to_tensor", watch)
    monkeypatch.setattr(keras.Variable, "assign", assign_then)
    rules = {"only/kernel": "initx.he_normal", "*": None}
    keras_initx.initialize(model, rules, seed=1, reset=False, atomic=False)
    assert len(drawn) == 1
    assert still_there == [False]
