"""Models that nobody builds before `fit` does: Keras makes their values late, when no layer is asking for them."""

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy

from keras_initx import ChronoBias, GRUUpdateBias, HeNormal, LSTMForgetBias, Scaled

layers = keras.layers

# Of one step, and without a loop of the backend, which takes longer to compile.
SEQUENCE = (1, 3)
IMAGES = (1, 4, 4, 3)
STEP = {"return_sequences": True, "unroll": True}
# Of Keras, which take long to compile.
ZEROS = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}


def lstm(bias, **kwargs):
    return layers.LSTM(6, bias_initializer=bias, **{"unit_forget_bias": False, **STEP, **ZEROS, **kwargs})


def gru(bias, **kwargs):
    return layers.GRU(8, bias_initializer=bias, **STEP, **ZEROS, **kwargs)


def convolution(bias, **kwargs):
    return layers.ConvLSTM2D(8, 3, padding="same", bias_initializer=bias, **STEP, **kwargs)


def of_sequences():
    """Return layers that follow each other, and whose biases depend on the layer."""
    cell = layers.LSTMCell(6, bias_initializer=ChronoBias(50), unit_forget_bias=False)
    return [
        lstm(ChronoBias(50)),
        lstm(Scaled(ChronoBias(50), 0.5)),
        layers.RNN(cell, **STEP),
        layers.Bidirectional(lstm(ChronoBias(50))),
        gru(ChronoBias(50)),
        gru(ChronoBias(50), reset_after=False),
        lstm(LSTMForgetBias(2.0)),
        lstm(LSTMForgetBias(), unit_forget_bias=True),
        gru(GRUUpdateBias(2.0)),
        layers.Bidirectional(gru(GRUUpdateBias(2.0), reset_after=False)),
    ]


def of_two_kinds():
    return [lstm(ChronoBias(50)), gru(GRUUpdateBias(2.0))]


def of_images():
    return [
        convolution(ChronoBias(50), unit_forget_bias=False),
        convolution(LSTMForgetBias(2.0), unit_forget_bias=False),
        convolution(LSTMForgetBias()),
    ]


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


def fit(model, shape, epochs=1):
    # The weights stay what they are.
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    model.fit(np.ones((2, *shape), "float32"), np.ones((2, *shape[:-1], 1), "float32"), epochs=epochs, verbose=0)


# All but TensorFlow build before the first epoch, and take long to compile a step for an LSTM.
EPOCHS = 1 if BACKEND == "tensorflow" else 0


@pytest.mark.rare
@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights:UserWarning")
@pytest.mark.parametrize(
    ("make", "shape", "kind"),
    [
        pytest.param(of_two_kinds, SEQUENCE, Subclassed, marks=pytest.mark.every_backend),
        (of_sequences, SEQUENCE, Subclassed),
        (of_sequences, SEQUENCE, keras.Sequential),
        (of_images, IMAGES, Subclassed),
    ],
)
def test_a_layer_has_the_bias_that_it_has_when_it_is_built_first(make, shape, kind):
    keras.utils.set_random_seed(1)
    expected = make()
    for part in expected:
        part.build((2, *shape))
    keras.utils.set_random_seed(1)
    parts = make()
    for part in parts:
        part.trainable = False  # gradients are not needed, and those of an LSTM take long to compile
    fit(kind(parts), shape, EPOCHS)
    for found, made in zip(biases(parts), biases(expected), strict=True):
        np.testing.assert_array_equal(found, made)


def biases(parts):
    found = [[to_numpy(weight) for weight in part.weights if weight.name == "bias"] for part in parts]
    assert all(found)
    return [bias for of_part in found for bias in of_part]


def train_another(kind):
    """Train a model of another kind, and return whether its kernel is what its initializer gives."""
    layer = layers.Dense(4, kernel_initializer=HeNormal(seed=1))
    fit(kind([layer]), (3,))
    return np.array_equal(to_numpy(layer.kernel), to_numpy(HeNormal(seed=1)((3, 4))))


@pytest.mark.parametrize("kind", [Subclassed, keras.Sequential])
@pytest.mark.filterwarnings("ignore:Layer .* looks like it has unbuilt state:UserWarning")
def test_after_a_model_that_cannot_be_built_the_next_one_can(kind):
    # Two layers with the same fault, because the first error may hide the second.
    faulty = [layers.LSTM(6, return_sequences=True, bias_initializer=ChronoBias(50)) for _ in range(2)]
    # Keras 3.10 raises an error of its own with the message in it.
    with pytest.raises((ValueError, RuntimeError), match=r"`ChronoBias` cannot be used .* Received: max_steps=50"):
        fit(kind([layers.Dense(3), *faulty, layers.Dense(1)]), SEQUENCE, EPOCHS)
    assert train_another(kind)


@pytest.mark.every_backend
def test_a_scope_that_ends_in_an_error_leaves_no_variables_behind():
    message = r"`shape` must be .*`ChronoBias\(50, cell=\"lstm\"\)`\. Received: shape=\(12,\), cell=None, layer=None"
    with pytest.raises(ValueError, match=message):
        made_in_a_scope("zeros", ChronoBias(50), ChronoBias(50))
    assert [to_numpy(variable.value).sum() for variable in made_in_a_scope("ones")] == [12]


def made_in_a_scope(*initializers):
    with keras.StatelessScope():
        return [keras.Variable(initializer, (12,)) for initializer in initializers]


def test_without_a_layer_the_cell_can_be_named():
    with keras.StatelessScope():
        layer = lstm(ChronoBias(50, cell="lstm", seed=1))
        layer.build((None, *SEQUENCE))
    np.testing.assert_array_equal(to_numpy(layer.cell.bias), to_numpy(ChronoBias(50, cell="lstm", seed=1)((24,))))
