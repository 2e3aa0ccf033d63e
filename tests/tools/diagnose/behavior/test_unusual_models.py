"""Models are diagnosed whatever becomes of their layers: quantized, adapted, taken apart."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_initx

# The layers that have no quantized form, as that of the inputs.
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")

X = np.random.default_rng(0).normal(size=(32, 16)).astype("float32")
Y = np.random.default_rng(1).normal(size=(32, 4)).astype("float32")


def network():
    return keras.Sequential([keras.Input((16,)), layers.Dense(16, "relu", name="hidden"), layers.Dense(4, name="out")])


@pytest.mark.parametrize("mode", ["float8", "int8"])
def test_quantized_models(mode):
    model = network()
    plain = keras_initx.diagnose(model, X, Y, loss="mse")
    model.quantize(mode)
    report = keras_initx.diagnose(model, X, Y, loss="mse")
    assert report.ok
    assert [layer.name for layer in report.rows] == ["hidden", "out"]
    assert report.rows[1].after.std == pytest.approx(plain.rows[1].after.std, rel=0.2)
    found, expected = (
        {weight.name: weight.gradient for weight in layers[1].weights} for layers in (report.rows, plain.rows)
    )
    assert found["bias"] == pytest.approx(expected["bias"], rel=0.2)  # a kernel of integers has no gradient
    if mode != "float8":
        # What is counted in steps of a quantized kernel is no size.
        assert report.rows[0].gain is None


@pytest.mark.filterwarnings("ignore:.*layer.* skipped because they do not support quantization:UserWarning")
def test_quantized_embeddings():
    model = keras.Sequential([keras.Input((5,), dtype="int32"), layers.Embedding(20, 8), layers.LSTM(4)])
    model.quantize("int8")
    report = keras_initx.diagnose(model, np.random.default_rng(0).integers(0, 20, (16, 5)))
    assert [layer.kind for layer in report.rows] == ["Embedding", "LSTM"]
    assert report.ok


def test_weights_and_activation_of_a_layer_that_is_not_called():
    class Borrowing(layers.Layer):
        def __init__(self):
            super().__init__(name="borrowing")
            self.lender = layers.Dense(4, "tanh", name="lender")

        def build(self, shape):
            self.lender.build(shape)

        def call(self, inputs):
            return self.lender.activation(keras.ops.matmul(inputs, self.lender.kernel))

    report = keras_initx.diagnose(keras.Sequential([keras.Input((16,)), Borrowing()]), X, Y, loss="mse")
    lender = {layer.name: layer for layer in report.rows}["borrowing/lender"]
    assert lender.after is None
    assert lender.before.std > 0
    assert lender.weights[0].gradient > 0
    assert "lender" in str(report)
    assert json.loads(report.to_json())["rows"][-1]["after"] is None


def test_adapters_have_zeros_on_purpose():
    model = network()
    for layer in model.layers:
        layer.enable_lora(2)
    assert keras_initx.diagnose(model, X, Y, loss="mse").verdicts == []


def test_the_gain_of_an_adapter_is_not_that_of_its_layer():
    model = network()
    plain = keras_initx.diagnose(model, X).rows
    for layer in model.layers:
        layer.enable_lora(2)
    adapted = keras_initx.diagnose(model, X).rows
    assert [layer.gain for layer in adapted] == [layer.gain for layer in plain]
    model.quantize("int8")
    quantized = keras_initx.diagnose(model, X, Y, loss="mse").rows
    assert [layer.gain for layer in quantized] == [None, None]
    # The second factor is 0, and holds up the first.
    moved = [weight.name for weight in quantized[1].weights if weight.gradient]
    assert moved == ["bias", "lora_kernel_b"]


class Summed(layers.Layer):
    def call(self, inputs, others=None):
        return inputs if others is None else inputs + others


def test_an_optional_input_may_be_none():
    inputs = {"one": keras.Input((16,), name="one"), "other": keras.Input((16,), name="other", optional=True)}
    model = keras.Model(inputs, layers.Dense(4)(Summed()(inputs["one"], inputs["other"])))
    report = keras_initx.diagnose(model, {"one": X, "other": None}, Y, loss="mse")
    alone = keras.Sequential([keras.Input((16,)), model.layers[-1]])
    expected = keras_initx.diagnose(alone, X, Y, loss="mse").rows[-1].gradient.norm
    assert report.rows[-1].gradient.norm == pytest.approx(expected, rel=1e-5)
    assert keras_initx.lsuv(model, {"one": X, "other": None}).rows[0].after == pytest.approx(1, abs=0.1)


class ByKeyword(layers.Layer):
    """Calls its activation, which is a layer, by keyword."""

    def __init__(self):
        super().__init__()
        self.activation = layers.LeakyReLU(name="leaky")

    def call(self, x):
        return self.activation(inputs=x)


def test_an_activation_may_be_called_by_keyword():
    model = keras.Sequential([keras.Input((16,)), layers.Dense(4), ByKeyword(), layers.Dense(4)])
    assert "leaky" in str(keras_initx.diagnose(model, X))
    assert [row.status for row in keras_initx.lsuv(model, X, seed=0).rows] == ["scaled"] * 2


class WithoutBias(layers.Layer):
    """A cell of one's own, which has no attribute `bias`."""

    state_size = 4

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")

    def call(self, inputs, states):
        output = keras.ops.tanh(inputs @ self.kernel + states[0])
        return output, [output]


def test_a_cell_of_ones_own_needs_no_bias():
    model = keras.Sequential([keras.Input((5, 8)), layers.RNN(WithoutBias()), layers.Dense(2)])
    assert keras_initx.diagnose(model, np.random.default_rng(0).normal(size=(16, 5, 8))).ok
