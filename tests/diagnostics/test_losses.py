"""A loss may have every form that `compile` takes, and is computed as in training."""

import types
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from asked import asked
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx.diagnostics.losses.probes import outputs as outputs_of

X = np.random.default_rng(0).normal(size=(16, 6))
Y = np.random.default_rng(1).normal(size=(16, 3))


def squares(targets, outputs):
    return keras.ops.mean((targets - outputs) ** 2, axis=-1)


class Squares(keras.losses.Loss):
    def call(self, targets, outputs):
        return squares(targets, outputs)


MEAN_OF_SQUARES = {
    "name": "mse",
    "object": keras.losses.MeanSquaredError(),
    "own": Squares(),
    "without reduction": Squares(reduction=None),
    "for each example": squares,
    "mean": lambda targets, outputs: keras.ops.mean((targets - outputs) ** 2),
    "list": [squares],
    "dict": {"out": squares},
}


def network():
    return keras.Sequential([keras.Input((6,)), layers.Identity(), layers.Dense(3, use_bias=False, name="out")])


def gradients(model, x, y, **options):
    """Return the norm of the gradient of each layer, by its name."""
    layers_found = keras_initx.diagnose(model, x, y, **options).layers
    return {layer.name: layer.gradient.norm for layer in layers_found if layer.gradient}


def of_mean_of_squares(model):
    """Return the norm of the gradient of `network` with a mean of squares, from its formula."""
    return np.linalg.norm(2 * X.T @ (X @ to_numpy(model.layers[-1].kernel) - Y) / Y.size)


@pytest.mark.parametrize("loss", MEAN_OF_SQUARES.values(), ids=MEAN_OF_SQUARES)
def test_a_mean_has_one_gradient_in_all_forms(loss):
    model = network()
    assert gradients(model, X, Y, loss=loss)["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)


@pytest.mark.parametrize("loss", [squares, ["mse"]], ids=["function", "list"])
def test_a_compiled_loss_may_have_these_forms_too(loss):
    model = network()
    model.compile("sgd", loss)
    assert gradients(model, X, Y)["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)


def test_a_loss_that_is_infinite_has_the_gradient_of_what_is_finite():
    model = network()
    found = gradients(model, X, Y, loss=lambda targets, outputs: np.inf + squares(targets, outputs))
    assert found["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)


def test_a_sum_is_not_averaged():
    model = network()
    found = gradients(model, X, Y, loss=Squares(reduction="sum"))["out"]
    assert found == pytest.approx(len(X) * of_mean_of_squares(model), rel=1e-4)


CLASSES = np.arange(16) % 3


@pytest.mark.parametrize(
    ("name", "labels", "units"),
    # Means over the outputs of an example, over all examples, of classes and of numbers of classes.
    [
        ("binary_crossentropy", CLASSES > 1, 1),
        ("dice", np.eye(3)[CLASSES], 3),
        ("categorical_crossentropy", np.eye(3)[CLASSES], 3),
        ("sparse_categorical_crossentropy", CLASSES, 3),
    ],
)
def test_a_loss_of_keras_has_the_gradient_of_a_step_of_training(name, labels, units):
    out = layers.Dense(units, "sigmoid" if units == 1 else "softmax", use_bias=False, name="out")
    model = keras.Sequential([keras.Input((6,)), out])
    model.compile(keras.optimizers.SGD(1.0), name)
    before = to_numpy(out.kernel)
    found = gradients(model, X, labels)["out"]
    model.fit(X, labels, batch_size=16, epochs=1, verbose=0)
    assert found == pytest.approx(np.linalg.norm(before - to_numpy(out.kernel)), rel=1e-3, abs=1e-6)


def two_outputs(outputs):
    inputs = keras.Input((6,))
    one, two = layers.Dense(3, use_bias=False, name="one")(inputs), layers.Dense(2, name="two")(inputs)
    return keras.Model(inputs, {"one": one, "two": two} if outputs == "dict" else [one, two])


@pytest.mark.parametrize(
    ("outputs", "y", "loss"),
    [
        ("list", {"two": Y[:, :2], "one": Y}, squares),
        ("list", {"two": Y[:, :2], "one": Y}, {"two": Squares(), "one": "mse"}),
        ("dict", {"two": Y[:, :2], "one": Y}, ["mse", squares]),
    ],
    ids=["function", "dict", "list"],
)
def test_each_output_has_its_loss(outputs, y, loss):
    model = two_outputs(outputs)
    model.compile("sgd", loss)
    given = gradients(model, X, y, loss=loss)
    assert given == gradients(model, X, y)
    out = to_numpy(model.get_layer("one").kernel)
    assert given["one"] == pytest.approx(np.linalg.norm(2 * X.T @ (X @ out - Y) / Y.size), rel=1e-4)


def test_masked_steps_have_no_loss():
    tokens = np.tile([[1, 2, 0, 0], [3, 0, 0, 0]], (8, 1))
    embedding = layers.Embedding(5, 4, mask_zero=True, name="tokens")
    model = keras.Sequential([keras.Input((4,), dtype="int32"), embedding, layers.GRU(3, return_sequences=True)])
    y = np.random.default_rng(1).normal(size=(16, 4, 3))
    other = np.where((tokens == 0)[..., None], 100.0, y)
    assert gradients(model, tokens, y, loss=squares) == gradients(model, tokens, other, loss=squares)


@pytest.mark.every_backend
@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_may_compute_its_loss_itself(compiled):
    class Own(keras.Sequential):
        def compute_loss(self, x, y, y_pred, sample_weight, training=True):
            # As in training, where both are tensors.
            assert keras.ops.is_tensor(x)
            assert keras.backend.standardize_dtype(x.dtype) == "float32"
            return keras.ops.mean((y - y_pred) ** 2)

    model = Own([keras.Input((6,)), layers.Dense(3, use_bias=False, name="out")])
    model.compile("sgd", "mae" if compiled else None)
    assert gradients(model, X, Y)["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)


def of_other_names(self, inputs, targets, predictions, weights):
    return keras.ops.mean((targets - predictions) ** 2)


def with_training(self, x, y, y_pred, sample_weight, training):
    # As in training, where it is true.
    return keras.ops.mean((y - y_pred) ** 2) / training


def test_an_own_computation_gets_the_arguments_of_training():
    own = type("Own", (keras.Sequential,), {"compute_loss": with_training})
    model = own(network().layers)
    model.compile("sgd")
    assert gradients(model, X, Y)["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)


def as_function(function, model):
    def compute_loss(x, y, y_pred, sample_weight):
        return function(model, x, y, y_pred, sample_weight)

    return compute_loss


@pytest.mark.parametrize("bound", [types.MethodType, as_function])
def test_a_computation_may_be_set_on_the_model(bound):
    model = network()
    model.compile("sgd", "mae")
    model.compute_loss = bound(of_other_names, model)
    assert gradients(model, X, Y)["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)
    assert losses(model, X, Y)["out"] == (None, None)


@pytest.mark.parametrize("loss", [None, "mse"], ids=["compiled", "given"])
def test_a_penalty_may_have_a_value_for_each_example(loss):
    class Penalty(layers.Layer):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def call(self, inputs):
            self.add_loss(self.factor * keras.ops.mean(inputs**2, axis=-1))
            return inputs

    keras.utils.set_random_seed(0)
    layer = layers.Dense(3, use_bias=False, name="out")
    model = keras.Sequential([keras.Input((6,)), layer, Penalty(1.0)])
    model.compile("sgd", "mse")
    outputs = X @ to_numpy(layer.kernel)
    expected = 2 * X.T @ ((outputs - Y) / Y.size + outputs / 3)
    assert gradients(model, X, Y, loss=loss)["out"] == pytest.approx(np.linalg.norm(expected), rel=1e-4)


@pytest.mark.parametrize("loss", [{"one": Squares(), "two": "mse"}, None], ids=["given", "compiled"])
def test_the_loss_of_the_model_stays(loss):
    model = two_outputs("list")
    model.compile("sgd", ["mse", "mae"], metrics=[["mae"], ["mae"]])
    named = [metric.name for metric in model.metrics]
    keras_initx.diagnose(model, X, [Y, Y[:, :2]], loss=loss)
    assert model.loss == ["mse", "mae"]
    assert [metric.name for metric in model.metrics] == named


@pytest.mark.parametrize("loss", ["msee", 3, {"out": "msee"}], ids=str)
def test_an_unknown_loss_is_refused_before_anything_runs(loss):
    ran = []
    model = keras.Sequential([keras.Input((6,)), layers.Lambda(lambda x: ran.append(0) or x), layers.Dense(3)])
    ran.clear()
    with pytest.raises(
        ValueError, match=r"`loss` must be the name of a loss, .* list or dict of them. Received: loss="
    ):
        keras_initx.diagnose(model, X, Y, loss=loss)
    assert not ran


def test_names_in_a_loss_are_those_of_outputs():
    with pytest.raises(ValueError, match=r"Expected keys \['out'\] in loss dict, but found loss.keys\(\)=\['other'\]"):
        keras_initx.diagnose(network(), X, Y, loss={"other": "mse"})


LABELS = np.arange(16) % 3
ONE_HOT = np.eye(3)[LABELS]
PROBABILITIES = np.exp(X[:, :3]) / np.exp(X[:, :3]).sum(axis=1, keepdims=True)
OFF = 0.3 * X[:, :3]  # by which outputs are off targets of deviation 1
NATS = -np.log(PROBABILITIES[np.arange(16), LABELS]).mean()
BINARY = -(ONE_HOT * np.log(PROBABILITIES) + (1 - ONE_HOT) * np.log(1 - PROBABILITIES)).mean()
OF_CLASSES, OF_TWO = (NATS, np.log(3)), (BINARY, np.log(2))
ODDS = PROBABILITIES[:, :1]
LOG_ODDS = np.where(LABELS > 0, np.log(ODDS[:, 0]), np.log(1 - ODDS[:, 0]))
OF_ONE = (-LOG_ODDS.mean(), np.log(2))
OF_ONE_DISTANCE = (np.sqrt((OFF[:, 0] ** 2).mean()), Y[:, 0].std())
BINARY_FORMS = {
    "short name": "bce",
    "sum": keras.losses.BinaryCrossentropy(reduction="sum"),
    "by shapes": "crossentropy",
}
OF_A_DISTANCE = (np.sqrt((OFF**2).mean()), np.sqrt(Y.var(axis=0).mean()))


class Known(NamedTuple):
    """A loss, outputs and targets, with the loss of these and that of a blind guess."""

    loss: Any
    outputs: np.ndarray
    targets: np.ndarray
    expected: tuple[float, float]


KNOWN = {
    "name": Known(loss="sparse_categorical_crossentropy", outputs=PROBABILITIES, targets=LABELS, expected=OF_CLASSES),
    "column of labels": Known(
        loss="sparse_categorical_crossentropy", outputs=PROBABILITIES, targets=LABELS[:, None], expected=OF_CLASSES
    ),
    "logits": Known(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        outputs=X[:, :3],
        targets=LABELS,
        expected=OF_CLASSES,
    ),
    "sum": Known(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
        outputs=X[:, :3],
        targets=LABELS,
        expected=OF_CLASSES,
    ),
    "one-hot": Known(
        loss=keras.losses.CategoricalCrossentropy(), outputs=PROBABILITIES, targets=ONE_HOT, expected=OF_CLASSES
    ),
    "by shapes": Known(loss="crossentropy", outputs=PROBABILITIES, targets=LABELS, expected=OF_CLASSES),
    "by shapes, one-hot": Known(loss="CE", outputs=PROBABILITIES, targets=ONE_HOT, expected=OF_CLASSES),
    "binary": Known(loss="binary_crossentropy", outputs=PROBABILITIES, targets=ONE_HOT, expected=OF_TWO),
    "binary class": Known(
        loss=keras.losses.BinaryCrossentropy, outputs=PROBABILITIES, targets=ONE_HOT, expected=OF_TWO
    ),
    "squares": Known(loss="mse", outputs=Y + OFF, targets=Y, expected=OF_A_DISTANCE),
    "absolute": Known(loss=keras.losses.MeanAbsoluteError(), outputs=Y + OFF, targets=Y, expected=OF_A_DISTANCE),
    "huber": Known(loss="huber", outputs=Y + OFF, targets=Y, expected=OF_A_DISTANCE),
    "vector of targets": Known(loss="mse", outputs=Y[:, :1] + OFF[:, :1], targets=Y[:, 0], expected=OF_ONE_DISTANCE),
    **{
        f"vector, {form}": Known(loss=loss, outputs=ODDS, targets=LABELS > 0, expected=OF_ONE)
        for form, loss in BINARY_FORMS.items()
    },
}


def losses(model, x, y, **options):
    """Return the loss of each output and that of a blind guess, by the name of the layer that makes it."""
    records = asked(outputs_of, model, x, y, **options)
    return {name: (record.loss, record.blind_loss) for name, record in records.items()}


def given_outputs(units=3):
    """Return a model that puts out what it is given."""
    inputs = keras.Input((units,))
    identity = layers.Dense(units, kernel_initializer="identity", name="identity")
    return keras.Model(inputs, identity(inputs))


@pytest.mark.parametrize("name", KNOWN)
def test_a_loss_is_compared_with_that_of_a_blind_guess(name):
    known = KNOWN[name]
    model = given_outputs(known.outputs.shape[1])
    found = losses(model, known.outputs, known.targets, loss=known.loss)["identity"]
    assert found == pytest.approx(known.expected, rel=1e-4)


def cubes(targets, outputs):
    return keras.ops.mean(keras.ops.abs(targets - outputs) ** 3)


@pytest.mark.parametrize("loss", [cubes, "cosine_similarity"], ids=["function", "name"])
def test_a_loss_that_is_not_known_is_not_compared(loss):
    assert losses(given_outputs(), Y, 1000 + Y, loss=loss) == {"identity": (None, None)}


@pytest.mark.parametrize("loss", [squares, Squares()], ids=["function", "object"])
def test_a_loss_of_ones_own_is_known_by_its_values(loss):
    found = losses(given_outputs(), Y, 1000 + Y, loss=loss)
    assert found == losses(given_outputs(), Y, 1000 + Y, loss="mse")


def test_an_output_without_rows_is_not_compared():
    inputs = keras.Input((3,))
    total = keras.ops.sum(layers.Dense(3, name="identity")(inputs))
    assert losses(keras.Model(inputs, total), Y, Y[:, 0], loss=squares)["identity"] == (None, None)


def test_each_output_may_have_a_vector_of_labels():
    loss, labels = {"two": "ce", "one": "bce"}, [LABELS > 0, LABELS]
    inputs = keras.Input((6,))
    one = layers.Dense(1, "sigmoid", name="one")(inputs)
    two = layers.Dense(3, "softmax", name="two")(inputs)
    model = keras.Model(inputs, [one, two])
    model.compile("sgd", loss)
    expected = model.evaluate(X, labels, verbose=0, return_dict=True)
    found = losses(model, X, labels)
    assert found["one"] == pytest.approx((expected["one_loss"], np.log(2)), rel=1e-4)
    assert found["two"] == pytest.approx((expected["two_loss"], np.log(3)), rel=1e-4)


@pytest.mark.parametrize(
    "loss",
    ["sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy(ignore_class=2)],
    ids=["masked", "ignored class too"],
)
def test_what_training_leaves_out_is_not_in_a_crossentropy(loss):
    tokens = np.tile([[1, 2, 0, 0], [3, 0, 0, 0]], (8, 1))
    y = np.random.default_rng(0).integers(0, 3, (16, 4))
    embedding = layers.Embedding(5, 4, mask_zero=True)
    out = layers.Dense(3, "softmax", name="out")
    model = keras.Sequential([keras.Input((4,), dtype="int32"), embedding, out])
    model.compile("sgd", loss)
    expected = model.evaluate(tokens, y, verbose=0)
    assert losses(model, tokens, y)["out"] == pytest.approx((expected, np.log(3)), rel=1e-4)


def test_classes_may_be_along_another_axis():
    places = np.random.default_rng(0).dirichlet(np.ones(3), size=(16, 5))
    outputs, y = np.moveaxis(places, -1, 1), np.moveaxis(np.eye(3)[np.arange(80).reshape(16, 5) % 3], -1, 1)
    model = keras.Sequential([keras.Input((3, 5)), layers.Dense(5, kernel_initializer="identity", name="out")])
    expected = -(y * np.log(outputs)).sum(axis=1).mean()
    found = losses(model, outputs, y, loss=keras.losses.CategoricalCrossentropy(axis=1))["out"]
    assert found == pytest.approx((expected, np.log(3)), rel=1e-4)


@pytest.mark.parametrize(("loss", "units"), [("mse", 1), ("mae", 3)])
def test_what_a_mask_leaves_out_is_not_in_a_distance(loss, units):
    x, y = np.random.default_rng(0).normal(size=(2, 16, 5, units))
    x[:, 2:], y[:, 2:] = 0, -1000
    model = keras.Sequential([keras.Input((5, units)), layers.Masking(), layers.Identity(name="inputs")])
    model.add(layers.Dense(units, kernel_initializer="identity", name="out"))
    rows = y[:, :2].reshape(-1, units)
    errors = np.sqrt(((x - y)[:, :2] ** 2).mean())
    assert losses(model, x, y, loss=loss)["out"] == pytest.approx((errors, np.sqrt(rows.var(axis=0).mean())), rel=1e-4)


def test_an_output_that_is_masked_as_a_whole_is_not_compared():
    model = keras.Sequential([keras.Input((5, 3)), layers.Masking(), layers.Dense(3, name="out")])
    assert losses(model, np.zeros((16, 5, 3)), np.full((16, 5, 3), 1000.0), loss="mse")["out"] == (None, None)


def test_an_output_with_several_losses_is_not_compared():
    # Of one output alone, Keras 3.10 computes the first of several losses.
    far = 1000 + Y[:, :2]
    found = losses(two_outputs("list"), X, [Y, far], loss=[["mse", "mae"], "mse"])
    assert found["one"] == (None, None)
    assert found["two"] == (pytest.approx(1000, rel=0.01), pytest.approx(np.sqrt(far.var(axis=0).mean()), rel=1e-4))


def test_a_model_may_have_the_loss_of_its_layers_alone():
    class Adding(layers.Layer):
        def call(self, inputs):
            self.add_loss(keras.ops.mean(inputs**2))
            return inputs

    model = keras.Sequential([*network().layers, Adding()])
    model.compile("sgd")
    model.build((None, 6))
    kernel = to_numpy(model.weights[0])
    norm = np.linalg.norm(2 * X.T @ (X @ kernel) / Y.size)
    assert gradients(model, X, Y)["out"] == pytest.approx(norm, rel=1e-4)


def test_a_regularizer_alone_is_no_loss():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3, kernel_regularizer="l2")])
    with pytest.raises(ValueError, match=r"`loss` is required with `y`: .*, compile the model, or leave out `y`"):
        keras_initx.diagnose(model, X, Y)


def test_a_crossentropy_that_is_large_by_what_follows_the_last_layer():
    inputs = keras.Input((6,))
    logits = 100 * layers.Dense(3, "tanh", name="out")(layers.Dense(6)(inputs))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    (verdict,) = keras_initx.diagnose(keras.Model(inputs, logits), X, LABELS, loss=loss).verdicts
    assert verdict.problem == "large first loss"
    assert verdict.evidence.endswith("; what follows makes them 100 times as large")
    assert verdict.remedy.text.startswith("a smaller factor after out: ")


class Ranks(keras.losses.Loss):
    """Puts examples in the order of their targets, by all pairs of them."""

    def call(self, y_true, y_pred):
        order = keras.ops.sign(y_true[:, None] - y_true[None])
        return keras.ops.mean(keras.ops.relu(1 - order * (y_pred - keras.ops.transpose(y_pred))))


def test_a_loss_of_pairs_of_examples_does_not_compare_with_all_by_mistake():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(1)])
    assert keras_initx.diagnose(model, X, X[:, 0], loss=Ranks()).ok


def test_a_layer_of_one_mode_alone_beside_dropout():
    class Modes(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.noise, self.last = layers.Dense(8, "relu"), layers.Dropout(0.5), layers.Dense(1)
            self.more = layers.Dense(8)

        def call(self, x, training=False):
            hidden = self.noise(self.first(x), training=training)
            return self.last(hidden if training else hidden + self.more(hidden))

    model = Modes()
    model(X)
    assert keras_initx.diagnose(model, X, X[:, :1], loss="mse").ok


def test_a_loss_may_leave_out_targets_that_are_not_finite():
    y = Y.copy()
    y[3] = np.nan

    def of_finite(y_true, y_pred):
        is_given = keras.ops.isfinite(y_true)
        return keras.ops.where(is_given, keras.ops.where(is_given, y_true, 0) - y_pred, 0) ** 2

    assert keras_initx.diagnose(network(), X, y, loss=of_finite).ok


VECTORS, IMAGES = (4,), (32, 32, 3)


@pytest.mark.parametrize(
    ("function", "shape", "expected"),
    [
        (lambda error: keras.ops.mean(error**2) / 2, VECTORS, 1.0),
        (lambda error: keras.ops.sum(error**2, axis=-1), VECTORS, 1.0),
        (lambda error: keras.ops.sum(error**2, axis=-1), IMAGES, 1.0),
        (lambda error: keras.ops.sum(error**2), IMAGES, None),
        (lambda error: keras.ops.mean(keras.ops.abs(error) ** 1.5), VECTORS, None),
        (lambda error: -keras.ops.mean(error**2), VECTORS, None),
    ],
    ids=["half", "sums of vectors", "sums of pixels", "sum of all", "another power", "with the other sign"],
)
def test_a_multiple_of_a_loss_is_compared_as_that_loss(function, shape, expected):
    y = np.random.default_rng(0).normal(size=(8, *shape)).astype("float32")
    identity = layers.Dense(shape[-1], kernel_initializer="identity", name="identity")
    model = keras.Sequential([keras.Input(shape), identity])
    found = losses(model, y, 1 + y, loss=lambda targets, outputs: function(targets - outputs))
    value, _ = found["identity"]
    assert value == (None if expected is None else pytest.approx(expected))
