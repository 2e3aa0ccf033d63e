"""Each call of a Keras model in one forward pass is recorded, and the model is afterward as it was."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import to_numpy

from keras_initx import compare_outputs, load_pretrained, record_outputs

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(4, 6)).astype("float32")


class Twice(layers.Layer):
    """Calls a layer twice, and an operation between."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(6, "relu", name="inner")

    def call(self, x):
        return self.inner(2 * self.inner(x)), x


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x, shortcut = Twice(name="twice")(inputs)
    x = layers.Dropout(0.5)(x) + shortcut
    nested_inputs = keras.Input((6,))
    nested = keras.Model(nested_inputs, ops.exp(nested_inputs) + nested_inputs, name="nested")
    x = layers.BatchNormalization(name="norm")(nested(x) + x)
    return keras.Model(inputs, {"first": x, "second": layers.Dense(2, name="out")(x)}, name="net")


@pytest.fixture(scope="module")
def outputs():
    return record_outputs(network(), X)


@pytest.mark.release_backends
def test_each_call_has_a_row_in_the_order_in_which_calls_end(outputs):
    assert [(row.path, row.call, row.kind) for row in outputs.rows] == [
        ("twice/inner", 1, "Dense"),
        ("twice/inner", 2, "Dense"),
        ("twice", 1, "Twice"),
        ("dropout", 1, "Dropout"),
        ("add", 1, "Add"),
        ("nested/exp", 1, "Exp"),
        ("nested/add", 1, "Add"),
        ("nested", 1, "Functional"),
        ("add_1", 1, "Add"),
        ("norm", 1, "BatchNormalization"),
        ("out", 1, "Dense"),
        ("net", 1, "Functional"),
    ]
    assert str(outputs.rows[-1]).count("(4, 6)") == 1


def test_paths_do_not_depend_on_what_else_was_made(outputs):
    second = record_outputs(network(), X)
    assert [row.path for row in outputs.rows] == [row.path for row in second.rows]


@pytest.mark.release_backends
def test_values_are_those_of_the_layers():
    model = network()
    outputs = record_outputs(model, X)
    calls = {str(call.key): call for call in outputs.calls}
    expected = model(X, training=False)
    assert list(calls["net"].outputs) == ["first", "second"]
    assert np.array_equal(calls["net"].outputs["second"].own_values, to_numpy(expected["second"]).ravel())
    row = {row.path: row for row in outputs.rows}["net"]
    assert row.mean == pytest.approx(to_numpy(expected["first"]).mean(), abs=1e-6)
    assert row.std == pytest.approx(to_numpy(expected["first"]).std(), rel=1e-6)
    # An input that is another call's output is the same object.
    assert calls["out"].inputs["inputs"] is calls["norm"].outputs[""]
    assert calls["norm"].inputs["inputs"] is calls["add_1"].outputs[""]
    first, second = calls["twice/inner"], calls["twice/inner, call 2"]
    assert np.array_equal(second.inputs["inputs"].own_values, 2 * first.outputs[""].own_values)
    assert np.array_equal(np.maximum(first.before_activation.own_values, 0), first.outputs[""].own_values)


@pytest.mark.every_backend
def test_a_model_is_afterward_as_it_was():
    model = network()
    model.compile("sgd", "mse")
    before = [to_numpy(variable.value).copy() for variable in model.variables]
    calls = {layer: vars(layer).get("call") for layer in model.layers}
    random = np.random.get_state(legacy=False)["state"]["pos"]  # noqa: NPY002, which is to stay
    assert compare_outputs(model, X, record_outputs(model, X)).ok
    for variable, value in zip(model.variables, before, strict=True):
        assert np.array_equal(to_numpy(variable.value), value)
    assert {layer: vars(layer).get("call") for layer in model.layers} == calls
    assert np.random.get_state(legacy=False)["state"]["pos"] == random  # noqa: NPY002


class Sees(layers.Layer):
    """Calls a layer within `call`, which reads the mask of its input."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.recurrent = layers.LSTM(5, name="recurrent")

    def call(self, x):
        return self.recurrent(x)


@pytest.mark.release_backends
def test_a_mask_passes_the_calls_that_are_recorded():
    keras.utils.set_random_seed(0)
    words = keras.Input((7,), dtype="int32")
    x = layers.Embedding(20, 6, mask_zero=True, name="embedding")(words)
    model = keras.Model(words, layers.Dense(3, name="out")(Sees(name="sees")(x)), name="net")
    x = DRAWS.integers(1, 20, (4, 7)) * (np.arange(7) < np.array([[7], [3], [5], [2]]))
    report = compare_outputs(model, x, record_outputs(model, x))
    assert report.ok
    recurrent = {str(call.key): call for call in record_outputs(model, x).calls}["sees/recurrent"]
    assert recurrent.inputs["mask"].mean == pytest.approx(17 / 28)


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="`model` must be built"):
        record_outputs(keras.Sequential([layers.Dense(2)]), X)
    with pytest.raises(TypeError, match="`model` must be a Keras model"):
        record_outputs(layers.Dense(2), X)


def test_outputs_are_a_table(outputs):
    assert repr(outputs) == "<RecordedOutputs of 12 calls>"
    assert str(outputs).splitlines()[0].split() == ["layer", "call", "class", "shape", "dtype", "mean", "std"]
    assert outputs.to_pandas()["path"].tolist()[:3] == ["twice/inner", "twice/inner", "twice"]


class Own(keras.Model):
    """A model with weights of its own, and no layers."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")

    def call(self, x):
        return x @ self.kernel


def test_the_empty_name_is_a_model_with_weights_of_its_own():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    y = np.zeros((5, 4), "float32")
    other = Own()
    other(x)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, use_bias=False, name="dense")])
    assert load_pretrained(model, other, names={"dense": ""}).ok
    for one in (model, other):
        one.compile("sgd", "mse")
    report = compare_outputs(model, x, other, y=y, names={"dense": ""})
    assert report.ok, str(report)
    assert report["dense"].status == "equal"
    assert report.step["dense/kernel"].gradient.status == "equal"
