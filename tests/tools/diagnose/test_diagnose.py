"""What `diagnose` takes, and what it refuses."""

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND

import keras_initx

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(1).normal(size=(64, 3)).astype("float32")


@pytest.fixture
def dense():
    return layers.Dense(6, "tanh", bias_initializer="random_normal", name="hidden"), layers.Dense(3, name="out")


def sequential(hidden, out):
    return keras.Sequential([keras.Input((8,)), hidden, out])


@pytest.mark.parametrize(("low", "high"), [(0, 100), (-1, 99)])
def test_an_index_without_a_row_is_refused(low, high):
    model = keras.Sequential([keras.Input((2,)), layers.Embedding(100, 4, name="words"), layers.Flatten()])
    message = rf"words has input_dim=100, .* Received: indices from {low} to {high}"
    with pytest.raises(ValueError, match=message):
        keras_initx.diagnose(model, np.array([[low, 5], [7, high]]))


def test_a_failing_model_is_left_as_it_was(dense):
    model = sequential(*dense)
    dense[1].input_spec = keras.layers.InputSpec(ndim=3)
    with pytest.raises(ValueError, match="incompatible"):
        keras_initx.diagnose(model, X)
    assert "call" not in vars(dense[0])
    assert vars(dense[0])["activation"] is keras.activations.tanh


def test_only_the_first_examples_are_used(dense):
    model = sequential(*dense)
    report = keras_initx.diagnose(model, X, Y, loss="mse", batch_size=20)
    assert report.rows[0].shape == (20, 6)
    assert report.to_json() == keras_initx.diagnose(model, X[:20], Y[:20], loss="mse").to_json()
    tensors = keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y)
    assert report.to_json() == keras_initx.diagnose(model, *tensors, loss="mse", batch_size=20).to_json()


def test_integers_are_inputs_too():
    model = keras.Sequential([keras.Input((4,), dtype="int32"), layers.Embedding(10, 3)])
    report = keras_initx.diagnose(model, np.random.default_rng(0).integers(0, 10, (20, 4)))
    assert report.inputs is None
    assert report.rows[0].shape == (20, 4, 3)


def test_targets_need_a_loss(dense):
    with pytest.raises(ValueError, match=r"`loss` is required with `y`.*Received: loss=None"):
        keras_initx.diagnose(sequential(*dense), X, Y)


def test_a_model_is_required():
    with pytest.raises(TypeError, match=r"`model` must be a Keras model. Received: model=<Dense"):
        keras_initx.diagnose(layers.Dense(3), X)


def test_examples_are_required(dense):
    with pytest.raises(ValueError, match="`x` must have at least one example"):
        keras_initx.diagnose(sequential(*dense), X[:0])


def test_as_many_targets_as_examples_are_required(dense):
    with pytest.raises(
        ValueError, match=r"`x` and `y` must have the same number of examples. Received: x with \[64\], y with \[6"
    ):
        keras_initx.diagnose(sequential(*dense), X, Y[:-1], loss="mse")


def test_rows_of_a_shuffled_frame_keep_their_order(dense):
    pandas = pytest.importorskip("pandas")
    order = np.random.default_rng(0).permutation(len(X))
    x, y = pandas.DataFrame(X).iloc[order], pandas.DataFrame(Y).iloc[order]
    model = sequential(*dense)
    shuffled = keras_initx.diagnose(model, x, y, loss="mse", batch_size=20)
    assert shuffled.to_json() == keras_initx.diagnose(model, X[order], Y[order], loss="mse", batch_size=20).to_json()


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (2.5, TypeError)])
def test_the_batch_size_is_a_positive_integer(dense, value, error):
    with pytest.raises(error, match=rf"`batch_size` must be a positive integer. Received: batch_size={value}"):
        keras_initx.diagnose(sequential(*dense), X, batch_size=value)


def test_arrays_are_required(dense):
    with pytest.raises(TypeError, match=r"`x` must be an array, .* or a dataset of batches. Received: x with float"):
        keras_initx.diagnose(sequential(*dense), 1.5)
    with pytest.raises(TypeError, match=r"`y` must be an array, or a list or dict of arrays. Received: y with str"):
        keras_initx.diagnose(sequential(*dense), X, "y", loss="mse")


@pytest.mark.parametrize(
    ("name", "convert"),
    [
        ("x", lambda array: array.astype("complex64")),
        ("y", lambda array: keras.ops.convert_to_tensor(array.astype("complex64"))),
        ("x", lambda array: np.ma.masked_less(array, 0)),
    ],
    ids=["complex", "complex tensor", "masked"],
)
def test_imaginary_parts_and_masks_are_not_ignored(dense, name, convert):
    arrays = {"x": X, "y": Y}
    arrays[name] = convert(arrays[name])
    with pytest.raises(TypeError, match=f"`{name}` must hold real numbers, without a mask. Received: {name} with "):
        keras_initx.diagnose(sequential(*dense), **arrays, loss="mse")


def test_sparse_matrices_are_no_arrays(dense):
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"`x` must be an array, .* Received: x with csr_matrix"):
        keras_initx.diagnose(sequential(*dense), sparse.csr_matrix(X))


@pytest.mark.parametrize(
    "convert",
    [
        lambda array: array.astype("float64"),
        pytest.param(
            lambda array: keras.ops.cast(keras.ops.convert_to_tensor(array), "bfloat16"),
            marks=pytest.mark.every_backend,
        ),
    ],
    ids=["float64", "bfloat16"],
)
def test_inputs_may_be_floats_of_any_size(dense, convert):
    report = keras_initx.diagnose(sequential(*dense), convert(X), Y, loss="mse")
    assert report.inputs.std == pytest.approx(X.std(), rel=1e-2)
    in_float32 = keras_initx.diagnose(sequential(*dense), X, Y, loss="mse")
    assert report.rows[1].gradient.norm == pytest.approx(in_float32.rows[1].gradient.norm, rel=1e-2)


def test_progress_names_each_layer_as_it_is_measured_and_each_step(capsys):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="hidden"), layers.Dense(2, name="out")])
    model.compile("sgd", "mse")
    keras_initx.diagnose(model, np.ones((8, 4)), np.ones((8, 2)), steps=1, verbose=1)
    shown = [text.strip() for text in capsys.readouterr().err.split("\r")]
    assert shown == ["", "Measured hidden", "Measured out", "step 1 of 1"]


@pytest.mark.parametrize("rows", [[[1.0, 2.0], [3.0]], [[1.0], [None]]], ids=["of different lengths", "with gaps"])
def test_objects_are_no_numbers(dense, rows):
    objects = np.empty(2, object)
    objects[:] = rows
    message = r"`x` must hold numbers, or strings, in one array .* Received: x with ndarray of dtype object"
    with pytest.raises(TypeError, match=message):
        keras_initx.diagnose(sequential(*dense), objects)


@pytest.mark.skipif(BACKEND != "torch", reason="others are no arrays")
def test_sparse_tensors_of_torch_are_refused(dense):
    sparse = keras.ops.convert_to_tensor(X).to_sparse()
    with pytest.raises(TypeError, match=r"`x` must be dense. Received: x with a sparse Tensor"):
        keras_initx.diagnose(sequential(*dense), sparse)


class Trainer(keras.Model):
    """A model that only trains another, as a GAN does."""

    def __init__(self, critic):
        super().__init__()
        self.critic = critic

    def train_step(self, data):
        return {}


def test_a_model_without_a_call_is_refused_with_the_models_that_it_trains():
    critic = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")], name="critic")
    with pytest.raises(ValueError, match=r"pass one of the models that it trains.* holds the models \['critic'\]"):
        keras_initx.diagnose(Trainer(critic), np.zeros((8, 4)))


def test_a_call_that_is_set_on_an_instance_counts():
    critic = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
    trainer = Trainer(critic)
    trainer.call = lambda x: critic(x)
    report = keras_initx.diagnose(trainer, np.random.default_rng(0).normal(size=(8, 4)))
    assert len(report.rows) == 1


def test_a_model_that_is_compiled_without_a_loss_is_told_so():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam")
    with pytest.raises(ValueError, match=r"Received: loss=None, and a model that is compiled without a loss$"):
        keras_initx.diagnose(model, np.zeros((8, 4)), np.zeros((8, 1)))


class OwnStep(keras.Model):
    def train_step(self, data):
        return {}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 0.5


def test_steps_refuse_a_train_step_of_ones_own_and_a_diagnosis_without_steps_does_not():
    inputs = keras.Input((4,))
    model = OwnStep(inputs, keras.layers.Dense(1)(inputs))
    model.compile("adam")
    x = np.random.default_rng(0).normal(size=(8, 4))
    with pytest.raises(ValueError, match=r"`steps` cannot follow a `train_step` of your own.* type OwnStep"):
        keras_initx.diagnose(model, x, x[:, :1], steps=3)
    assert keras_initx.diagnose(model, x).ok
