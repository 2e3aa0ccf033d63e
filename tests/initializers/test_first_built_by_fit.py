"""Models that nobody builds before `fit` does: Keras makes their values late, when no layer is asking for them."""

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy

from keras_initx import ChronoBias, GRUUpdateBias, HeNormal, LSTMForgetBias, Pretrained, Scaled

layers = keras.layers

SEQUENCE = (5, 3)
IMAGES = (5, 6, 6, 3)


def lstm(bias, **kwargs):
    return layers.LSTM(6, bias_initializer=bias, unit_forget_bias=False, **kwargs)


# A layer, and the shape of its inputs without the batch.
MAKES = {
    "ChronoBias in an LSTM": (lambda: lstm(ChronoBias(50)), SEQUENCE),
    "ChronoBias in a GRU of one row": (
        lambda: layers.GRU(8, bias_initializer=ChronoBias(50), reset_after=False),
        SEQUENCE,
    ),
    "ChronoBias in both directions": (lambda: layers.Bidirectional(lstm(ChronoBias(50))), SEQUENCE),
    "ChronoBias in a cell": (
        lambda: layers.RNN(layers.LSTMCell(6, bias_initializer=ChronoBias(50), unit_forget_bias=False)),
        SEQUENCE,
    ),
    "ChronoBias within another": (lambda: lstm(Scaled(ChronoBias(50), 0.5)), SEQUENCE),
    "ChronoBias in a ConvLSTM2D": (
        lambda: layers.ConvLSTM2D(3, 3, bias_initializer=ChronoBias(50), unit_forget_bias=False),
        IMAGES,
    ),
    "LSTMForgetBias": (lambda: lstm(LSTMForgetBias(2.0)), SEQUENCE),
    "LSTMForgetBias and ones of Keras": (lambda: layers.LSTM(8, bias_initializer=LSTMForgetBias()), SEQUENCE),
    "LSTMForgetBias in a ConvLSTM2D": (
        lambda: layers.ConvLSTM2D(8, 3, bias_initializer=LSTMForgetBias()),
        IMAGES,
    ),
    "GRUUpdateBias": (lambda: layers.GRU(8, bias_initializer=GRUUpdateBias(2.0)), SEQUENCE),
    "GRUUpdateBias in both directions": (
        lambda: layers.Bidirectional(layers.GRU(8, bias_initializer=GRUUpdateBias(2.0))),
        SEQUENCE,
    ),
}


class Subclassed(keras.Model):
    """A model without a `build` of its own, which holds the initializer of one of its layers."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts
        self.bias_initializer = getattr(parts[0], "bias_initializer", None)

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


both_kinds = pytest.mark.parametrize("kind", [keras.Sequential, Subclassed])


def fit(model, shape, outputs, epochs=1):
    # The weights stay what they are.
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    model.fit(np.ones((2, *shape), "float32"), np.ones((2, *outputs), "float32"), epochs=epochs, verbose=0)


# All but TensorFlow build before the first epoch, and take long to compile a step for an LSTM.
EPOCHS = 1 if BACKEND == "tensorflow" else 0


@both_kinds
@pytest.mark.parametrize("name", MAKES)
def test_a_layer_has_the_bias_that_it_has_when_it_is_built_first(name, kind):
    make, shape = MAKES[name]
    keras.utils.set_random_seed(1)
    expected = make()
    expected.build((2, *shape))
    keras.utils.set_random_seed(1)
    layer = make()
    fit(kind([layer]), shape, expected.compute_output_shape((2, *shape))[1:], EPOCHS)
    biases = [to_numpy(weight) for weight in layer.weights if weight.name == "bias"]
    assert biases
    for bias, weight in zip(biases, [weight for weight in expected.weights if weight.name == "bias"], strict=True):
        np.testing.assert_array_equal(bias, to_numpy(weight))


@both_kinds
def test_a_model_trains(kind):
    layer = lstm(ChronoBias(50, seed=1))
    fit(kind([layer]), SEQUENCE, (6,))
    np.testing.assert_array_equal(to_numpy(layer.cell.bias), to_numpy(ChronoBias(50, "lstm", seed=1)((24,))))


def train_another(kind):
    """Train a model of another kind, and return whether its kernel is what its initializer gives."""
    layer = layers.Dense(4, kernel_initializer=HeNormal(seed=1))
    fit(kind([layer]), (3,), (4,))
    return np.array_equal(to_numpy(layer.kernel), to_numpy(HeNormal(seed=1)((3, 4))))


# Two layers with the same fault, because the first error may hide the second.
FAULTS = {
    "overwritten": (
        lambda: layers.LSTM(6, return_sequences=True, bias_initializer=ChronoBias(50)),
        "`ChronoBias` cannot be used .* Received: max_steps=50",
    ),
    "of another layer": (
        lambda: layers.GRU(8, return_sequences=True, bias_initializer=ChronoBias(50, "lstm")),
        r"an LSTM's bias.*Received: shape=\(2, 24\)",
    ),
    "without a file": (
        lambda: layers.Dense(4, kernel_initializer=Pretrained("none.npy")),
        "`path` must be that of a file.* Received: path='none.npy'",
    ),
}


@both_kinds
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore:Layer .* looks like it has unbuilt state:UserWarning")
def test_after_a_model_that_cannot_be_built_the_next_one_can(kind, fault):
    make, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        fit(kind([layers.Dense(3), make(), make(), layers.Dense(1)]), SEQUENCE, (5, 1), EPOCHS)
    assert train_another(kind)


def test_a_scope_that_ends_in_an_error_leaves_no_variables_behind():
    message = r"`shape` must be .*`ChronoBias\(50, cell=\"lstm\"\)`\. Received: shape=\(12,\), cell=None, layer=None"
    with pytest.raises(ValueError, match=message), keras.StatelessScope():
        keras.Variable("zeros", (3,))
        keras.Variable(ChronoBias(50), (12,))
        keras.Variable(ChronoBias(50), (12,))
    with keras.StatelessScope():
        variable = keras.Variable("ones", (3,))
    assert to_numpy(variable.value).tolist() == [1, 1, 1]


def test_an_interrupt_leaves_no_variables_behind(monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(HeNormal, "_values", interrupted)
    with pytest.raises(KeyboardInterrupt), keras.StatelessScope():
        keras.Variable("zeros", (3,))
        keras.Variable(HeNormal(), (3, 4))
    with keras.StatelessScope():
        variable = keras.Variable("ones", (3,))
    assert to_numpy(variable.value).tolist() == [1, 1, 1]


def test_without_a_layer_the_cell_can_be_named():
    with keras.StatelessScope():
        layer = lstm(ChronoBias(50, "lstm", seed=1))
        layer.build((None, *SEQUENCE))
    np.testing.assert_array_equal(to_numpy(layer.cell.bias), to_numpy(ChronoBias(50, "lstm", seed=1)((24,))))
