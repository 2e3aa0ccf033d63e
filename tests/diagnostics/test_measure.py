"""What is measured of each layer is what it does, and leaves the model as it was."""

import keras
import numpy as np
import pytest
from asked import asked
from fused import Fused
from keras import layers
from modes import BACKEND, to_numpy
from tied import SharedKernel

import keras_initx
from keras_initx.diagnostics._first_inputs import differences, first_inputs
from keras_initx.diagnostics._layers import branch_ends
from keras_initx.diagnostics.losses.probes import outputs
from keras_initx.diagnostics.verdicts.memory import gates, recurrent_kernels, steps_of

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(1).normal(size=(64, 3)).astype("float32")


def by_name(report):
    return {layer.name: layer for layer in report.layers}


def assert_signal(signal, values):
    values = to_numpy(values)
    assert signal.mean == pytest.approx(values.mean(), abs=1e-5)
    assert signal.std == pytest.approx(values.std(), rel=1e-4)


@pytest.fixture
def dense():
    return layers.Dense(6, "tanh", bias_initializer="random_normal", name="hidden"), layers.Dense(3, name="out")


def sequential(hidden, out):
    return keras.Sequential([keras.Input((8,)), hidden, out])


def functional(hidden, out):
    inputs = keras.Input((8,))
    return keras.Model(inputs, out(hidden(inputs)))


def subclassed(hidden, out):
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = hidden, out

        def call(self, inputs):
            return self.out(self.hidden(inputs))

    return Network()


@pytest.mark.every_backend
@pytest.mark.parametrize("build", [subclassed, functional])
def test_signals_before_and_after_the_activation(build, dense):
    model = build(*dense)
    report = keras_initx.diagnose(model, X)
    assert [layer.name for layer in report.layers] == ["hidden", "out"]
    hidden, out = report.layers
    inside = X @ to_numpy(dense[0].kernel) + to_numpy(dense[0].bias)
    assert_signal(hidden.before, inside)
    assert_signal(hidden.after, np.tanh(inside))
    assert (hidden.kind, hidden.activation, hidden.shape) == ("Dense", "tanh", (64, 6))
    assert out.before is None
    assert_signal(out.after, model(X))
    assert (hidden.signal, out.signal) == (hidden.before, out.after)
    assert_signal(report.inputs, X)


@pytest.mark.parametrize("activation", [layers.ReLU(), layers.Activation("relu"), layers.PReLU()])
def test_an_activation_may_be_a_layer(activation):
    report = keras_initx.diagnose(keras.Sequential([keras.Input((8,)), activation]), X)
    (layer,) = report.layers
    assert_signal(layer.before, X)
    assert_signal(layer.after, activation(X))


def test_an_activation_may_be_a_layer_inside_another():
    hidden = layers.Dense(6, activation=layers.LeakyReLU(), name="hidden")
    found = by_name(keras_initx.diagnose(keras.Sequential([keras.Input((8,)), hidden]), X))
    assert_signal(found["hidden"].before, X @ to_numpy(hidden.kernel))
    assert_signal(found["hidden"].after, hidden(X))


def test_only_what_has_no_kernel_activates_what_comes_before():
    stack = [layers.Dense(6), layers.Dense(6, "relu"), layers.Dense(6), layers.Activation("selu"), layers.Dense(3)]
    found = keras_initx.diagnose(keras.Sequential([keras.Input((8,)), *stack]), X).layers
    assert [layer.activated_by for layer in found] == [None, None, "selu", None, None]


def test_a_weight_that_layers_share_is_of_the_first():
    first = layers.Dense(8, name="first")
    first.build((None, 8))
    second = SharedKernel(first.kernel, name="second")
    report = keras_initx.diagnose(keras.Sequential([keras.Input((8,)), first, second]), X, X, loss="mse")
    weights = {layer.name: [weight.name for weight in layer.weights] for layer in report.layers}
    assert weights == {"first": ["kernel", "bias"], "second": []}
    assert [layer.gradient is None for layer in report.layers] == [False, True]


def test_layers_inside_models_have_the_names_of_both():
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="dense")], name="block")
    model = keras.Sequential([keras.Input((8,)), inner, layers.Dense(3, name="dense")])
    measured = []
    assert list(by_name(keras_initx.diagnose(model, X, progress=measured.append))) == ["block/dense", "dense"]
    assert measured == ["block/dense", "dense"]


def test_layers_of_one_name_are_told_apart():
    class Pair(layers.Layer):
        def __init__(self):
            super().__init__(name="pair")
            self.parts = [layers.Dense(8, name="dense"), layers.Dense(8, name="dense")]

        def call(self, inputs):
            return self.parts[1](self.parts[0](inputs))

    model = keras.Sequential([keras.Input((8,)), Pair()])
    assert list(by_name(keras_initx.diagnose(model, X))) == ["pair/dense", "pair/dense (2)"]


def test_weights_of_a_layer_around_others_are_its_own():
    class Scaled(layers.Layer):
        def __init__(self):
            super().__init__(name="scaled")
            self.inner = keras.Sequential([layers.Dense(8, name="dense")], name="inner")

        def build(self, shape):
            self.factor = self.add_weight(shape=(8,), initializer="ones", name="factor")
            self.inner.build(shape)

        def call(self, inputs):
            return self.factor * self.inner(inputs)

    found = by_name(keras_initx.diagnose(keras.Sequential([keras.Input((8,)), Scaled()]), X))
    assert [weight.name for weight in found["scaled/inner/dense"].weights] == ["kernel", "bias"]
    assert [weight.name for weight in found["scaled"].weights] == ["factor"]


def test_a_layer_that_is_called_twice_has_one_signal():
    shared = layers.Dense(8, "tanh", name="shared")
    inputs, others = keras.Input((8,)), keras.Input((8,))
    model = keras.Model([inputs, others], [shared(shared(inputs)), shared(others)])
    (layer,) = keras_initx.diagnose(model, [X, 3 + X]).layers
    once = to_numpy(shared(X))
    # What comes from the layer itself is no input from outside.
    assert_signal(asked(first_inputs, model, [X, 3 + X])["shared"].signal, np.concatenate([X, 3 + X]))
    given = np.concatenate([X, once, 3 + X])
    assert_signal(layer.before, given @ to_numpy(shared.kernel))
    assert_signal(layer.after, shared(given))


def test_recurrent_layers_are_seen_from_outside():
    x = np.random.default_rng(0).normal(size=(16, 5, 4)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True, name="lstm"), name="bidirectional"),
            layers.TimeDistributed(layers.Dense(4, "relu", name="dense"), name="each"),
            layers.GRU(3, name="gru"),
        ]
    )
    found = by_name(keras_initx.diagnose(model, x))
    assert list(found) == ["bidirectional/forward_lstm", "bidirectional/backward_lstm", "each/dense", "gru"]
    assert_signal(found["gru"].after, model(x))
    assert [weight.name for weight in found["gru"].weights] == ["kernel", "recurrent_kernel", "bias"]
    assert {name: of_layer.gate for name, of_layer in asked(gates, model, x).items()} == {
        "bidirectional/forward_lstm": "forget",
        "bidirectional/backward_lstm": "forget",
        "gru": "update",
    }
    assert [layer.shown.get("gate bias") for layer in found.values()] == ["forget 1", "forget 1", None, "update 0"]


def test_directions_that_a_gpu_computes_at_once_are_measured_one_by_one():
    model = keras.Sequential(
        [keras.Input((5, 4)), Fused(layers.LSTM(3, return_sequences=True, name="lstm"), name="fused")]
    )
    found = by_name(keras_initx.diagnose(model, np.ones((16, 5, 4), "float32")))
    assert list(found) == ["fused/forward_lstm", "fused/backward_lstm"]
    assert vars(model.layers[0].forward_layer)["use_cudnn"] == "auto"


@keras.saving.register_keras_serializable(package="tests")
class Choosing(layers.LSTM):
    """Notes whether a GPU may compute all of its steps at once."""

    def call(self, *args, **options):
        self.choice = self.use_cudnn
        return super().call(*args, **options)


def test_a_direction_is_computed_as_it_is_without_a_diagnosis():
    model = keras.Sequential([keras.Input((5, 4)), layers.Bidirectional(Choosing(3))])
    keras_initx.diagnose(model, np.ones((16, 5, 4), "float32"))
    assert model.layers[0].forward_layer.choice == model.layers[0].backward_layer.choice == "auto"


@pytest.mark.parametrize(("low", "high"), [(0, 100), (-1, 99)])
def test_an_index_without_a_row_is_refused(low, high):
    model = keras.Sequential([keras.Input((2,)), layers.Embedding(100, 4, name="words"), layers.Flatten()])
    message = rf"words has input_dim=100, .* Received: indices from {low} to {high}"
    with pytest.raises(ValueError, match=message):
        keras_initx.diagnose(model, np.array([[low, 5], [7, high]]))


def test_several_inputs_and_outputs():
    first, second = keras.Input((8,), name="first"), keras.Input((3,), name="second")
    outputs = [layers.Dense(3, name="one")(first), layers.Dense(2, name="two")(second)]
    model = keras.Model({"first": first, "second": second}, outputs)
    model.compile(loss=["mse", "mse"])
    report = keras_initx.diagnose(model, {"first": X, "second": Y}, [Y, Y[:, :2]])
    assert set(by_name(report)) == {"one", "two"}
    assert_signal(report.inputs, np.concatenate([X.ravel(), Y.ravel()]))
    assert all(layer.gradient.norm > 0 for layer in report.layers)


@pytest.mark.every_backend
def test_gradients_are_those_of_the_loss(dense):
    model = sequential(*dense)
    dense[1].bias.assign([1.0, -2.0, 3.0])
    out = by_name(keras_initx.diagnose(model, X, Y, loss="mse"))["out"]
    error = 2 * (to_numpy(model(X)) - Y) / Y.size
    kernel = np.linalg.norm(to_numpy(dense[0](X)).T @ error)
    bias = np.linalg.norm(error.sum(axis=0))
    assert [weight.gradient for weight in out.weights] == pytest.approx([kernel, bias], rel=1e-4)
    assert out.gradient.norm == pytest.approx(np.hypot(kernel, bias), rel=1e-4)
    norm = np.hypot(np.linalg.norm(to_numpy(dense[1].kernel)), np.sqrt(14))
    assert out.gradient.ratio == pytest.approx(np.hypot(kernel, bias) / norm, rel=1e-4)


def gradients_with(penalty, strength, loss):
    """Return the norms of the gradients of two kernels with a penalty."""
    keras.utils.set_random_seed(0)
    regularizer = {penalty: keras.regularizers.L2(strength)}
    model = keras.Sequential([keras.Input((8,)), layers.Dense(5, **regularizer), layers.Dense(1, **regularizer)])
    model.compile(loss="mse")
    found = keras_initx.diagnose(model, X, Y[:, :1], loss=loss).layers
    return [layer.weights[0].gradient for layer in found]


@pytest.mark.parametrize("loss", [None, "mse"])
def test_penalties_of_activations_are_part_of_the_loss(loss):
    without = gradients_with("activity_regularizer", 0.0, loss)
    for norm, penalized in zip(without, gradients_with("activity_regularizer", 1e3, loss), strict=True):
        assert penalized > 10 * norm


@pytest.mark.parametrize("loss", [None, "mse"])
def test_gradients_leave_out_penalties_of_weights(loss):
    assert gradients_with("kernel_regularizer", 1e3, loss) == gradients_with("kernel_regularizer", 0.0, loss)


def test_regularizers_are_put_back_after_an_error():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(1, kernel_regularizer="l2")])
    regularizer = model.layers[0].kernel.regularizer

    def fails_later(y_true, y_pred):
        assert model.layers[0].kernel.regularizer is not None
        return keras.ops.mean((y_true - y_pred) ** 2)

    with pytest.raises(AssertionError):
        keras_initx.diagnose(model, X, Y[:, :1], loss=fails_later)
    assert model.layers[0].kernel.regularizer is regularizer


def test_no_gradient_is_known_where_the_loss_is_nan():
    names = [f"hidden_{number}" for number in range(4)]
    stack = [layers.Dense(8, "relu", kernel_regularizer="l2", name=name) for name in names]
    model = keras.Sequential([keras.Input((8,)), *stack, layers.Dense(3, name="out")])
    for layer in stack[1:3]:
        layer.kernel.assign(1e30 * layer.kernel)
    report = keras_initx.diagnose(model, X, Y, loss="mse")
    assert all(np.isnan(weight.gradient) for layer in report.layers for weight in layer.weights)
    assert {verdict.problem: verdict.layers for verdict in report.verdicts} == {
        "exploding": ("hidden_1", "hidden_2", "hidden_3", "out")
    }


@pytest.mark.every_backend
def test_weights_without_a_gradient_have_one_of_zero():
    class Unused(layers.Layer):
        def build(self, shape):
            self.used = self.add_weight(shape=(shape[-1], 3), name="used")
            self.unused = self.add_weight(shape=(5, 3), name="unused")

        def call(self, inputs):
            return keras.ops.matmul(inputs, self.used)

    (layer,) = keras_initx.diagnose(keras.Sequential([keras.Input((8,)), Unused()]), X, Y, loss="mse").layers
    used, unused = (weight.gradient for weight in layer.weights)
    assert used > 0
    assert unused == 0


def test_a_training_step_is_measured():
    model = keras.Sequential([keras.Input((8,)), layers.Dropout(0.5, seed=0), layers.BatchNormalization(name="bn")])
    (bn,) = keras_initx.diagnose(model, 100 + X).layers
    assert bn.after.std == pytest.approx(1, abs=0.01)


def test_a_failing_model_is_left_as_it_was(dense):
    model = sequential(*dense)
    dense[1].input_spec = keras.layers.InputSpec(ndim=3)
    with pytest.raises(ValueError, match="incompatible"):
        keras_initx.diagnose(model, X)
    assert "call" not in vars(dense[0])
    assert vars(dense[0])["activation"] is keras.activations.tanh


@pytest.mark.parametrize(
    # Scaled as in training, the gradients of all weights overflow, or those of some.
    "factor",
    [pytest.param(1e-5, marks=pytest.mark.every_backend), 1e3, 30],
    ids=["small", "large", "large in part"],
)
def test_gradients_in_float16_are_those_in_float32(factor):
    def norms(dtype):
        keras.utils.set_random_seed(0)
        stack = [layers.Dense(6, "tanh", dtype=dtype), layers.Dense(3, dtype=dtype)]
        report = keras_initx.diagnose(
            keras.Sequential([keras.Input((8,)), *stack]),
            X,
            Y,
            loss=lambda y, outputs: factor * keras.ops.mean((y - outputs) ** 2),
        )
        return [layer.gradient and layer.gradient.norm for layer in report.layers]

    np.testing.assert_allclose(norms("mixed_float16"), norms("float32"), rtol=0.02)


def test_only_the_first_examples_are_used(dense):
    model = sequential(*dense)
    report = keras_initx.diagnose(model, X, Y, loss="mse", batch_size=20)
    assert report.layers[0].shape == (20, 6)
    assert report.to_dict() == keras_initx.diagnose(model, X[:20], Y[:20], loss="mse").to_dict()
    tensors = keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y)
    assert report.to_dict() == keras_initx.diagnose(model, *tensors, loss="mse", batch_size=20).to_dict()


def test_integers_are_inputs_too():
    model = keras.Sequential([keras.Input((4,), dtype="int32"), layers.Embedding(10, 3)])
    report = keras_initx.diagnose(model, np.random.default_rng(0).integers(0, 10, (20, 4)))
    assert report.inputs is None
    assert report.layers[0].shape == (20, 4, 3)


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
    assert shuffled.to_dict() == keras_initx.diagnose(model, X[order], Y[order], loss="mse", batch_size=20).to_dict()


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
    assert report.layers[1].gradient.norm > 0


def test_progress_is_a_function(dense):
    with pytest.raises(TypeError, match=r"`progress` must be a function. Received: progress=True"):
        keras_initx.diagnose(sequential(*dense), X, progress=True)


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


def test_units_are_channels_also_where_they_come_first(channels_first):
    images = abs(np.random.default_rng(0).normal(size=(16, 5, 4, 4)).astype("float32"))
    images[:, 0] *= -1
    (report,) = keras_initx.diagnose(keras.Sequential([keras.Input((5, 4, 4)), layers.ReLU()]), images).layers
    assert report.after.unit_is_silent.tolist() == [True, False, False, False, False]
    assert report.dead == pytest.approx(1 / 5)


def test_a_signal_that_fades_from_call_to_call_of_one_layer_vanishes():
    shared = layers.Dense(16, "tanh", kernel_initializer=keras_initx.RandomNormal(stddev=0.03), name="shared")
    inputs = keras.Input((16,))
    hidden = inputs
    for _ in range(6):
        hidden = shared(hidden)
    report = keras_initx.diagnose(keras.Model(inputs, layers.Dense(4, name="out")(hidden)), np.ones((8, 16)) * SPREAD)
    (verdict,) = report.verdicts
    assert (verdict.problem, verdict.level, verdict.layers) == ("vanishing", "warning", ("out",))


SPREAD = np.linspace(-2, 2, 8)[:, None]


@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid", "relu", "gelu"])
def test_an_activation_is_known_by_its_values(name):
    large = keras_initx.RandomNormal(stddev=3.0)
    function = getattr(keras.ops, name)
    dense = layers.Dense(64, lambda x: function(x), kernel_initializer=large)
    report = keras_initx.diagnose(keras.Sequential([keras.Input((16,)), dense, layers.Dense(4)]), np.tile(SPREAD, 16))
    assert report.layers[0].activation == name
    is_bounded = name in ("tanh", "hard_sigmoid")
    assert [verdict.problem for verdict in report.verdicts] == ["saturated"] * is_bounded


# Keras warns of a model that is built by a call.
@pytest.mark.filterwarnings("ignore:`build\\(\\)` was called on layer:UserWarning")
def test_a_layer_that_is_used_later_is_built_then_and_measured():
    class Growing(keras.Model):
        def __init__(self):
            super().__init__()
            self.grown = False
            self.first, self.later, self.out = (layers.Dense(4, name=name) for name in ("first", "later", "out"))

        def call(self, inputs):
            hidden = self.first(inputs)
            return self.out(self.later(hidden) if self.grown else hidden)

    model = Growing()
    assert [layer.name for layer in keras_initx.diagnose(model, X).layers] == ["first", "out"]
    model.grown = True
    report = keras_initx.diagnose(model, X)
    assert [layer.name for layer in report.layers] == ["first", "later", "out"]
    assert all(layer.gain for layer in report.layers)


@pytest.mark.parametrize("activation", [lambda x: 10 * keras.ops.tanh(x), lambda x: x + 1], ids=["scaled", "linear"])
def test_another_function_is_not_taken_for_a_known_activation(activation):
    dense = layers.Dense(16, activation)
    report = keras_initx.diagnose(keras.Sequential([keras.Input((16,)), dense]), 9 * np.tile(SPREAD, 16))
    assert report.layers[0].activation == "<lambda>"


class Sine(layers.Layer):
    def call(self, x):
        return keras.ops.sin(30.0 * x)


@pytest.mark.parametrize(
    "stack",
    [
        lambda: [layers.Dense(64, Sine())],
        lambda: [layers.Dense(64), layers.Activation(Sine().call)],
        lambda: [layers.Dense(64), layers.Lambda(Sine().call)],
        lambda: [layers.Dense(64), Sine()],
        lambda: [layers.Dense(64, Sine().call, dtype="mixed_bfloat16")],
    ],
    ids=["layer as activation", "activation layer", "lambda layer", "layer", "16 bits"],
)
def test_the_slope_of_an_activation_of_your_own(stack):
    model = keras.Sequential([keras.Input((8,)), *stack(), layers.Dense(1)])
    assert keras_initx.diagnose(model, X).layers[0].slope == pytest.approx(30, rel=0.01)


@pytest.mark.parametrize(
    "activation",
    [
        "relu",
        keras.ops.softmax,
        lambda x: x / (keras.ops.norm(x, axis=-1, keepdims=True) + 1e-3),
        lambda x: x * x[63],
    ],
    ids=["of Keras", "softmax", "normalization", "of the whole batch"],
)
def test_no_slope_of_other_activations(activation):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(64, activation), layers.Dense(1)])
    assert keras_initx.diagnose(model, X).layers[0].slope is None


def test_what_progress_calls_is_no_part_of_the_pass():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="hidden"), layers.Dense(2, name="out")])
    seen = []

    def progress(name):
        seen.append(name)
        if len(seen) == 1:
            model(np.ones((8, 4)))
            keras_initx.diagnose(model, np.ones((8, 4)))

    report = keras_initx.diagnose(model, np.ones((8, 4)), progress=progress)
    assert seen == ["hidden", "out"]
    assert [layer.after.size for layer in report.layers] == [24, 16]


def test_an_output_that_a_call_has_transformed_is_of_the_layer_of_its_shape():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.classes = layers.Dense(4, name="classes")
            self.value = layers.Dense(1, name="value")

        def call(self, inputs):
            classes, value = self.classes(inputs), self.value(inputs)
            return keras.ops.softmax(100 * classes), value

    model, x = Two(), np.random.default_rng(0).normal(size=(32, 4))
    assert set(asked(outputs, model, x)) == {"classes", "value"}
    assert [verdict.layers for verdict in keras_initx.diagnose(model, x).verdicts] == [("classes",)]


def test_a_kernel_may_have_a_single_weight():
    dense = layers.Dense(1, kernel_initializer="ones", name="line")
    report = keras_initx.diagnose(keras.Sequential([keras.Input((1,)), dense]), 1000 * SPREAD.repeat(4)[:, None])
    assert report.layers[0].gain == 1
    assert [verdict.problem for verdict in report.verdicts] == ["unscaled inputs", "exploding"]


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


def test_the_singular_values_of_a_recurrent_kernel_without_gates():
    kernel = keras_initx.Orthogonal(gain=0.5)
    rnn = layers.SimpleRNN(8, return_sequences=True, recurrent_initializer=kernel, name="rnn")
    gated = layers.GRU(8, recurrent_initializer=kernel, name="gated")
    model = keras.Sequential([keras.Input((12, 8)), rnn, gated, layers.Dense(3)])
    x = np.tile(X[:, None], (1, 12, 1))
    found = asked(recurrent_kernels, model, x)
    assert list(found) == ["rnn"]
    assert found["rnn"][:2] == pytest.approx((0.5, 0.5), rel=1e-5)
    assert asked(steps_of, model, x) == {"rnn": 12, "gated": 12}


def test_what_a_recurrent_kernel_keeps_over_half_of_the_steps():
    kernel = keras_initx.Orthogonal(gain=0.5)
    for return_sequences, kept in ((True, None), (False, pytest.approx(0.5**6, rel=1e-4))):
        rnn = layers.SimpleRNN(8, return_sequences=return_sequences, recurrent_initializer=kernel)
        model = keras.Sequential([keras.Input((12, 8)), rnn])
        assert asked(lambda of: recurrent_kernels(of).popitem()[1].kept, model, np.ones((4, 12, 8))) == kept


def test_the_largest_of_the_inputs():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(3, name="first"), layers.Dense(3)])
    found = asked(first_inputs, model, X * np.where(np.arange(8) == 5, 20, 1))
    assert list(found) == ["first"]
    assert found["first"].largest == (5, pytest.approx(20 * np.sqrt((X[:, 5] ** 2).mean()), rel=1e-5))
    images = keras.Sequential([keras.Input((4, 2, 1)), layers.Conv2D(2, 2, name="first")])
    assert asked(first_inputs, images, X.reshape(64, 4, 2, 1))["first"].largest == (0, 0)


def test_what_the_last_layer_gets():
    stack = [layers.Dense(8, name="hidden"), layers.Rescaling(0.01, 3.0), layers.Dense(3, name="out")]
    model = keras.Sequential([keras.Input((8,)), *stack])
    values = 3.0 + 0.01 * to_numpy(model.layers[0](X))
    size = np.sqrt((values**2).mean())
    found = asked(outputs, model, X)
    assert list(found) == ["out"]
    assert found["out"].input_size == pytest.approx(size, rel=1e-4)
    assert asked(differences, model, X) == {
        "hidden": pytest.approx(np.sqrt(X.var(axis=0).mean() / (X**2).mean()), rel=1e-4),
        "out": pytest.approx(np.sqrt(values.var(axis=0).mean()) / size, rel=1e-2),
    }


def test_the_ends_of_residual_branches():
    inputs = keras.Input((8,))
    hidden = layers.Dense(8, name="stem")(inputs)
    branch = layers.Dropout(0.1)(layers.Dense(8, name="end")(layers.Dense(8, "relu", name="inside")(hidden)))
    hidden = layers.Add()([hidden, branch])
    hidden = hidden + layers.Dense(8, name="end by an operation")(hidden)
    # Neither passes the other by.
    hidden = layers.Add()([layers.Dense(8, name="one")(hidden), layers.Dense(8, name="two")(hidden)])
    model = keras.Model(inputs, layers.Dense(3, name="out")(hidden))
    assert [layer.name for layer in asked(branch_ends, model, X)] == ["end", "end by an operation"]


def test_softsign_is_saturated_where_it_has_the_slope_of_a_saturated_tanh():
    for activation, edge in (("tanh", 2.65), ("softsign", 6.1)):
        stack = [layers.Dense(8, kernel_initializer="identity"), layers.Activation(activation), layers.Dense(3)]
        model = keras.Sequential([keras.Input((8,)), *stack])
        x = np.tile([1.02 * edge, 0.98 * edge], (64, 4))
        report = by_name(keras_initx.diagnose(model, x))
        assert report[stack[1].name].saturated == 0.5
