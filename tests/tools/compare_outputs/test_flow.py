"""Calls depend on each other by the tensors that they return and get."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import compare_outputs, record_outputs
from keras_initx.tools.compare_outputs._flow import Flow, propagate_tolerances

X = np.random.default_rng(0).normal(size=(6, 8)).astype("float32")


def gated(activation="silu"):
    """Return a network with two branches, of which one is gated."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    gate = layers.Activation(activation, name="act")(layers.Dense(8, name="gate")(inputs))
    x = layers.Multiply(name="product")([gate, layers.Dense(8, name="up")(inputs)])
    return keras.Model(inputs, layers.Dense(3, name="down")(x), name="net")


def names(flow, found):
    return {flow.calls[place].key.name for place in flow.list_members(found)}


def test_a_call_depends_on_what_has_made_its_inputs_and_on_nothing_else():
    flow = Flow(record_outputs(gated(), X).calls)
    places = {call.key.name: place for place, call in enumerate(flow.calls)}
    for dependences in (flow.certain, flow.possible):
        assert names(flow, dependences[places["act"]]) == {"act", "gate"}
        assert names(flow, dependences[places["up"]]) == {"up"}
        assert names(flow, dependences[places["down"]]) == {"down", "product", "act", "gate", "up"}
    assert names(flow, flow.inner_calls(places["net"])) == {"gate", "act", "up", "product", "down"}


class Hidden(layers.Layer):
    """Changes the output of a layer by what is no call."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(8, name="first")
        self.side = layers.Dense(8, name="side")
        self.second = layers.Dense(8, name="second")

    def call(self, x):
        return self.second(ops.tanh(self.first(x))) + 0 * self.side(x)


def test_what_is_not_known_may_depend_on_all_before():
    inputs = keras.Input((8,))
    flow = Flow(record_outputs(keras.Model(inputs, Hidden(name="hidden")(inputs)), X).calls)
    places = {call.key.name: place for place, call in enumerate(flow.calls)}
    second = places["hidden/second"]
    assert names(flow, flow.certain[second]) == {"hidden/second"}
    assert names(flow, flow.possible[second]) == {"hidden/first", "hidden/second"}
    assert names(flow, flow.possible[places["hidden/side"]]) == {"hidden/side"}


def test_equal_constants_of_two_calls_are_no_connection():
    inputs = keras.Input((8,))
    dead = [layers.Dense(4, kernel_initializer="zeros", name=name)(inputs) for name in "ab"]
    flow = Flow(record_outputs(keras.Model(inputs, layers.Add(name="sum")(dead)), X).calls)
    assert [len(flow.list_members(found)) for found in flow.certain[:2]] == [1, 1]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_row_has_the_tolerance_of_16_bits_that_it_depends_on(dtype):
    inputs = keras.Input((8,))
    x = layers.Dense(8, dtype=f"mixed_{dtype}", name="narrow")(inputs)
    outputs = layers.Softmax(dtype="float32", name="softmax")(x)
    aside = layers.Dense(3, name="aside")(inputs)
    recorded = record_outputs(keras.Model(inputs, [outputs, aside], name="net"), X)
    narrow = {"float16": 0.02, "bfloat16": 0.1}[dtype]
    found = propagate_tolerances(Flow(recorded.calls), None)
    assert dict(zip([row.path for row in recorded.rows], found, strict=True)) == {
        "narrow": narrow,
        "softmax": narrow,
        "aside": 5e-6,
        "net": narrow,
    }


class Narrow(layers.Layer):
    """Casts what it has computed in 16 bits."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(8, dtype="mixed_float16", name="first")
        self.second = layers.Dense(8, name="second")

    def call(self, x):
        return self.second(ops.tanh(ops.cast(self.first(x), "float32")))


def test_a_row_has_the_tolerance_of_16_bits_that_it_may_depend_on():
    inputs = keras.Input((8,))
    outputs = Narrow(name="narrow")(layers.Dense(8, name="before")(inputs))
    calls = record_outputs(keras.Model(inputs, outputs, name="net"), X).calls
    found = dict(zip([call.key.name for call in calls], propagate_tolerances(Flow(calls), None), strict=True))
    assert found == {"before": 5e-6, "narrow/first": 0.02, "narrow/second": 0.02, "narrow": 0.02, "net": 0.02}


@pytest.mark.parametrize(
    ("layer", "size", "factor"),
    [
        (layers.GlobalAveragePooling2D(), 64, 2),
        (layers.GlobalAveragePooling2D(), 16, 1),
        (layers.GroupNormalization(2), 64, 2**1.5),
        (layers.LayerNormalization(axis=(1, 2, 3)), 64, 4),
        (layers.Conv2D(2, 3), 64, 1),
        (layers.AveragePooling2D(64), 64, 2),
        (layers.ReLU(), 64, 1),
    ],
)
def test_sums_of_many_values_have_a_larger_tolerance_and_what_follows_too(layer, size, factor):
    model = keras.Sequential([keras.Input((size, size, 4)), layer, layers.Rescaling(2.0)])
    x = np.random.default_rng(0).normal(size=(2, size, size, 4)).astype("float32")
    found = propagate_tolerances(Flow(record_outputs(model, x).calls), None)
    assert found == pytest.approx([5e-6 * factor] * 3)
    assert propagate_tolerances(Flow(record_outputs(model, x).calls), 1e-3) == [1e-3] * 3


@pytest.mark.parametrize(
    ("layer", "on_jax", "on_tensorflow"),
    [
        (layers.GlobalAveragePooling2D(), 2, 16),
        (layers.GroupNormalization(2), 2**1.5, 32),
        (layers.LayerNormalization(axis=(1, 2, 3)), 4, 4),
        (layers.AveragePooling2D(64), 16, 2),
        (layers.AveragePooling2D(2), 1, 1),
        (layers.Dense(2), 1, 1),
    ],
)
def test_where_a_backend_adds_one_value_after_the_other_the_tolerance_grows_with_their_number(
    layer, on_jax, on_tensorflow
):
    model = keras.Sequential([keras.Input((64, 64, 4)), layer])
    flow = Flow(record_outputs(model, np.random.default_rng(0).normal(size=(2, 64, 64, 4))).calls)
    for backend, factor in (("jax", on_jax), ("tensorflow", on_tensorflow)):
        assert propagate_tolerances(flow, None, ("torch", backend)) == pytest.approx([5e-6 * factor] * 2)


def changed(model, name, size):
    kernel = model.get_layer(name).kernel
    kernel.assign(keras.ops.convert_to_numpy(kernel) * (1 + size))
    return model


def test_the_maker_of_inputs_that_differ_by_half_the_tolerance_is_named():
    other = changed(changed(gated(), "gate", 4e-6), "down", 4e-6)
    report = compare_outputs(gated(), X, other)
    assert report.first.path == "gate"
    assert report.first.detail == "above half the tolerance"
    assert report.problems[0] is report.first


def test_the_stretch_is_what_no_equal_call_depends_on():
    like = record_outputs(gated(), X)
    named = {"gate": "gate", "up": "up", "down": "down"}
    report = compare_outputs(gated("gelu"), X, like, names=named)
    assert report.first.path == "down"
    assert report.between == (("gate", "up"), ("act", "product"), ("act", "product"))
    arrays = {str(call.key): call.outputs[""].own_values.reshape(call.outputs[""].shape) for call in like.calls}
    del arrays["act"]
    report = compare_outputs(gated("gelu"), X, arrays)
    assert report.first.path == "product"
    assert report.between == (("gate", "up"), ("act",), ())
