"""What is between the last layer and the loss is named, with a remedy that helps as it is printed."""

import re

import keras
import numpy as np
import pytest
from diagnosed.networks import regression as healthy_regression
from keras import layers
from keras.optimizers.schedules import ExponentialDecay, PiecewiseConstantDecay

import keras_initx

# Keras itself warns of a softmax of one unit, and on TensorFlow of probabilities taken for logits.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*from_logits=True.*:UserWarning"),
]

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(64, 8)).astype("float32")
LABELS = np.argmax(X[:, :4], axis=-1)
SEVERAL = (X[:, :4] > 0).astype("float32")
SIDE = SEVERAL[:, :1]

LOSSES = keras.losses
SPARSE, DENSE, BINARY = LOSSES.SparseCategoricalCrossentropy, LOSSES.CategoricalCrossentropy, LOSSES.BinaryCrossentropy


def network(units, activation=None, **options):
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(16, "relu", kernel_initializer="he_normal")
    return keras.Sequential([keras.Input((8,)), hidden, layers.Dense(units, activation, name="out", **options)])


def verdicts(model, y, loss=None, x=X):
    return keras_initx.diagnose(model, x, y, loss=loss).verdicts


def problems(*arguments, **options):
    return [verdict.problem for verdict in verdicts(*arguments, **options) if verdict.level != "note"]


class OwnLoss(SPARSE):
    """May read outputs in another way than its base class."""


OWN = {
    "function": lambda y, outputs: keras.ops.sparse_categorical_crossentropy(y, outputs, from_logits=True),
    "subclass": OwnLoss(from_logits=True),
}


@pytest.mark.parametrize("form", OWN)
def test_an_own_loss_is_read_as_what_it_computes(form):
    assert problems(network(4), LABELS, OWN[form]) == []
    assert problems(network(4, "softmax"), LABELS, OWN[form]) == ["no probabilities"]


def logarithms(limit):
    """Return a crossentropy of two classes of one's own, of what `limit` makes of the outputs."""

    def loss(y, outputs):
        p = limit(outputs)
        return -keras.ops.mean(y * keras.ops.log(p) + (1 - y) * keras.ops.log(1 - p))

    return loss


@pytest.mark.every_backend
@pytest.mark.parametrize("steps", [0, 2])
def test_a_loss_without_a_limit_has_one_error_by_what_it_is(steps):
    model = network(1)
    model.compile("adam", logarithms(lambda p: p))
    (verdict,) = keras_initx.diagnose(model, X, SIDE, steps=steps).verdicts
    assert verdict.problem == "undefined loss"
    assert "the loss is nan" in verdict.evidence
    assert verdict.remedy.text.startswith("loss=keras.losses.BinaryCrossentropy(from_logits=True), or activation=")


def test_a_loss_that_is_infinite_has_one_error():
    labels = LABELS[:, None]
    model = network(4, "relu")
    model.compile("adam", lambda y, p: -keras.ops.log(keras.ops.take_along_axis(p, keras.ops.cast(y, "int32"), -1)))
    (verdict,) = keras_initx.diagnose(model, X, labels, steps=2).verdicts
    assert ("the loss is inf" in verdict.evidence, verdict.problem) == (True, "undefined loss")


def test_what_a_loss_of_ones_own_does_beyond_0_and_1_is_not_said():
    cutting = logarithms(lambda p: keras.ops.clip(p, 1e-7, 1 - 1e-7))
    (found,) = verdicts(network(1), SIDE, cutting)
    assert found.evidence.endswith("the loss (like binary_crossentropy) takes it for them")
    (found,) = verdicts(network(1), SIDE, BINARY())
    assert found.evidence.endswith("it cuts off what is not between 0 and 1, where no gradient passes")


def test_probabilities_that_are_rounded_to_1_need_no_second_sigmoid():
    model = network(1, "sigmoid", kernel_initializer=keras.initializers.RandomNormal(stddev=50.0))
    found = verdicts(model, SIDE, logarithms(lambda p: p))[0]
    assert found.problem == "undefined loss"
    assert "activation=" not in found.remedy.text


def test_a_few_examples_show_that_a_loss_has_no_value():
    assert problems(network(1), SIDE[:4], logarithms(lambda p: p), x=X[:4]) == ["undefined loss"]


class Probabilities(keras.Model):
    """Apply the last activation in code of its own, where it is not seen."""

    def __init__(self, activation):
        super().__init__()
        self.out = layers.Dense(4, name="out")
        self.last = activation

    def call(self, inputs):
        return self.last(self.out(inputs))


def test_an_activation_in_own_code_is_known_by_its_values():
    model = Probabilities(keras.ops.softmax)
    assert problems(model, LABELS, SPARSE()) == []
    assert problems(model, LABELS, SPARSE(from_logits=True)) == ["no probabilities"]
    # Numbers between 0 and 1 may be logits, if other weights would give others.
    for activation, expected in ((keras.ops.sigmoid, ["no probabilities"]), (lambda x: 0.5 + x / 100, [])):
        assert problems(Probabilities(activation), SEVERAL, BINARY(from_logits=True)) == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_limits_in_own_code_are_found_by_trial(dtype):
    def limited(activation, least):
        model = Probabilities(activation)
        model.out.dtype_policy = keras.DTypePolicy(dtype)
        targets = np.linspace(least, 3, 4 * len(X), dtype="float32").reshape(-1, 4)
        return verdicts(model, targets, "mse")

    (found,) = limited(lambda x: 2 * keras.ops.tanh(x), -3)
    assert "the outputs of out lie between -2 and 2" in found.evidence
    (found,) = limited(lambda x: keras.ops.relu(x) + 1, -3)
    assert "never below 1" in found.evidence
    assert limited(keras.ops.square, 0) == []
    assert limited(lambda x: x + 1, -3) == []


def test_limits_are_not_tried_where_the_batch_cannot_be_cut():
    model = Probabilities(lambda x: keras.ops.tanh(keras.ops.reshape(x, (128, 4))))
    x = np.concatenate([X, X, X])[:128]
    assert keras_initx.diagnose(model, x, np.ones((128, 4), "float32"), loss="mse").ok


AFTER = {
    "layer": layers.Softmax,
    "activation": lambda: layers.Activation("softmax"),
    "operation": lambda: keras.ops.softmax,
}


@pytest.mark.parametrize("after", AFTER)
def test_an_activation_may_follow_the_last_layer(after):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, AFTER[after]()(layers.Dense(4)(inputs)))
    assert problems(model, LABELS, SPARSE()) == []
    found = verdicts(model, LABELS, SPARSE(from_logits=True))
    assert "ends in softmax" in found[0].evidence


def test_a_reshaped_output_keeps_its_activation():
    inputs = keras.Input((8,))
    outputs = layers.Reshape((4,))(layers.Dense(4, "sigmoid")(inputs))
    assert problems(keras.Model(inputs, outputs), SEVERAL, BINARY(from_logits=True)) == ["no probabilities"]


def test_what_a_mask_leaves_out_may_have_any_label():
    tokens = DRAWS.integers(1, 20, (16, 6))
    tokens[:, 4:] = 0
    stack = [layers.Embedding(20, 8, mask_zero=True), layers.Dense(4, "softmax")]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *stack])
    y = np.where(tokens == 0, 3, tokens % 3)
    # Too many classes for these units.
    few = keras.Sequential([keras.Input((6,), dtype="int32"), stack[0], layers.Dense(3, "softmax")])
    assert problems(model, y, "sparse_categorical_crossentropy", x=tokens) == []
    assert problems(few, y + 1, "sparse_categorical_crossentropy", x=tokens) == ["unsuitable labels"]


def test_classes_along_another_axis():
    pixels = DRAWS.normal(size=(8, 3, 4, 4)).astype("float32")
    inputs = keras.Input((3, 4, 4))
    hidden = layers.Permute((3, 1, 2))(layers.Dense(5)(layers.Permute((2, 3, 1))(inputs)))
    model = keras.Model(inputs, layers.Softmax(axis=1)(hidden))
    y = DRAWS.integers(0, 5, (8, 4, 4))
    assert problems(model, y, SPARSE(axis=1), x=pixels) == []
    assert problems(model, y, SPARSE(axis=1, from_logits=True), x=pixels) == ["no probabilities"]


def test_the_axis_of_the_classes_is_that_of_the_loss_where_several_have_one_size():
    x, y = DRAWS.normal(size=(8, 4, 4)), DRAWS.integers(0, 4, (8, 4))

    def network(axis):
        return keras.Sequential([keras.Input((4, 4)), layers.Dense(4), layers.Softmax(axis=axis)])

    assert problems(network(1), y, SPARSE(axis=1), x=x) == []
    assert problems(network(2), y, SPARSE(axis=1), x=x) == ["no probabilities"]


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_float16"])
def test_a_softmax_over_the_examples_in_own_code_is_known_by_its_sums(dtype):
    model = Probabilities(lambda x: keras.ops.softmax(x, axis=0))
    model.out.dtype_policy = keras.DTypePolicy(dtype)
    (found,) = verdicts(model, LABELS, SPARSE())
    assert "the output of out adds up to 1 over the examples (axis 0)" in found.evidence


def test_probabilities_may_add_up_to_1_by_chance():
    half = keras.Sequential([keras.Input((8,)), layers.Dense(1, keras.ops.sigmoid, kernel_initializer="zeros")])
    assert problems(half, SIDE[:2], BINARY(), x=X[:2]) == []


def test_targets_of_noise_may_leave_the_range_a_little():
    y = 1 / (1 + np.exp(-X))
    y[:2] += 1
    assert problems(network(8, "sigmoid"), y, "mse") == []


def test_a_softmax_of_one_unit_needs_no_targets():
    report = keras_initx.diagnose(network(1, "softmax"), X)
    assert [verdict.problem for verdict in report.verdicts] == ["single class"]


def regression(optimizer):
    model = network(1)
    model.compile(optimizer, "mse")
    return model


def test_a_rate_that_is_too_large_is_found_before_the_first_step():
    y = X @ np.linspace(-1, 1, 8)[:, None]
    model = regression(keras.optimizers.SGD(5.0))
    found = verdicts(model, y)
    assert [verdict.problem for verdict in found] == ["rate"]
    by_sgd, by_adam = re.fullmatch(r"keras.optimizers.SGD\((.+)\), or (.+)", found[0].remedy.text).groups()
    assert by_adam == "keras.optimizers.Adam()"
    for optimizer in (keras.optimizers.SGD(float(by_sgd)), keras.optimizers.Adam(0.03)):
        cured = regression(optimizer)
        assert problems(cured, y) == []
        course = cured.fit(X, y, epochs=20, verbose=0).history["loss"]
        assert course[-1] < course[0] / 2


def test_the_cause_of_large_gradients_comes_before_the_rate():
    keras.utils.set_random_seed(0)
    wide = [layers.Dense(64, "relu", kernel_initializer=keras.initializers.RandomNormal(stddev=1.0)) for _ in range(6)]
    model = keras.Sequential([keras.Input((8,)), *wide, layers.Dense(1)])
    model.compile("sgd", "mse")
    found = problems(model, X[:, :1])
    assert found[0] == "exploding"
    assert found[-1] == "rate"


def test_the_rate_of_a_schedule_is_that_of_the_next_step():
    y = X[:, :1]
    warm = keras.optimizers.schedules.CosineDecay(1e-3, 100, warmup_target=5.0, warmup_steps=10)
    assert problems(regression(keras.optimizers.SGD(warm)), y) == []


def test_a_rate_is_too_large_whatever_the_loss_is_multiplied_by():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(5.0))
    assert problems(regression(optimizer), X[:, :1]) == ["rate"]


def five():
    return 5.0


def test_the_rate_of_a_function_is_what_it_returns():
    assert problems(regression(keras.optimizers.SGD(five)), X[:, :1]) == ["rate"]


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none")
@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer])
def test_several_optimizers_have_no_rate_to_judge(wrap):
    several = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD(5.0)))
    assert problems(regression(wrap(several)), X[:, :1]) == []


@pytest.mark.parametrize("limit", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_clipped_gradients_make_no_large_steps(limit):
    assert problems(regression(keras.optimizers.SGD(5.0, **{limit: 0.01})), X[:, :1]) == []


def test_a_sum_of_losses_has_no_step_to_compare_with():
    model = network(1)
    model.compile(keras.optimizers.SGD(5.0), LOSSES.MeanSquaredError(reduction="sum"))
    assert "rate" not in problems(model, X[:, :1])


def test_a_negative_rate_is_an_error():
    found = verdicts(regression(keras.optimizers.Adam(-1.0)), X[:, :1])
    assert [(verdict.problem, verdict.level) for verdict in found] == [("rate", "error")]


def test_a_network_that_trains_with_steps_beyond_its_loss_is_no_alarm():
    keras.utils.set_random_seed(0)
    model, x, y, loss = healthy_regression(factor=0.1)
    for seed, layer in enumerate(model.layers):
        layer.kernel.assign(keras_initx.HeNormal(seed=seed)(layer.kernel.shape))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    report = keras_initx.diagnose(model, x, y)
    assert report.ok
    squares = sum(layer.gradient.norm**2 for layer in report.layers if layer.gradient)
    course = model.fit(x, y, batch_size=len(x), epochs=20, verbose=0).history["loss"]
    # Momentum would add up ten such steps.
    assert 0.1 * squares > 6 * course[0]
    assert course[-1] < course[0] / 10


@pytest.mark.parametrize("name", ["AdamW", "Adamax"])
def test_a_rate_of_adam_that_overwrites_the_weights_is_found(name):
    y = X[:, :1]
    optimizer = getattr(keras.optimizers, name)
    assert problems(regression(optimizer(0.1)), y) == []
    found = verdicts(regression(optimizer(2.0)), y)
    assert [verdict.problem for verdict in found] == ["rate"]
    assert found[0].remedy.text == "the default rate: keras.optimizers.Adam()"


def test_a_row_of_an_embedding_is_no_sum_of_inputs():
    stack = [layers.Embedding(1000, 4), layers.Flatten(), layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,), dtype="int32"), *stack])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    words = np.arange(3 * len(X)).reshape(-1, 3) % 1000
    assert "rate" not in problems(model, X[:, :1], x=words)


class Masked(keras.Model):
    """Set the logits of some classes to minus infinity, which the loss takes."""

    def __init__(self):
        super().__init__()
        self.out = layers.Dense(8, name="out")

    def call(self, inputs):
        return keras.ops.where(np.arange(8) < 4, self.out(inputs), -np.inf)


def test_outputs_may_be_infinite_on_purpose():
    if not np.isfinite(keras.ops.convert_to_numpy(SPARSE(from_logits=True)(LABELS, Masked()(X)))):
        pytest.skip("this version of Keras multiplies infinite logits by 0")
    assert problems(Masked(), LABELS, SPARSE(from_logits=True)) == []


def test_a_layer_without_activation_makes_logits_whatever_they_are():
    model = network(1, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(0.3))
    assert "no probabilities" in problems(model, SIDE, "binary_crossentropy")


class Squashed(layers.Dense):
    """Applies a function in its own `call`."""

    def call(self, inputs):
        return keras.ops.sigmoid(super().call(inputs))


def test_a_subclass_of_a_layer_may_make_probabilities():
    model = keras.Sequential([keras.Input((8,)), Squashed(1)])
    assert problems(model, SIDE, "binary_crossentropy") == []


def test_outputs_of_nan_are_reported_where_the_loss_raises():
    stack = [layers.Dense(8, "exponential", kernel_initializer=keras.initializers.Constant(9.0)) for _ in range(3)]
    signs = layers.Dense(1, "sigmoid", kernel_initializer=keras.initializers.RandomNormal(seed=0))
    model = keras.Sequential([keras.Input((8,)), *stack, signs])
    assert "exploding" in problems(model, SIDE, "binary_crossentropy")


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (keras.optimizers.Adam(1e-8), ["rate"]),
        (keras.optimizers.SGD(1e-7), ["rate"]),
        (keras.optimizers.SGD(0.0), ["rate"]),
        (keras.optimizers.SGD(1e-3), []),
        (keras.optimizers.SGD(1e-3, momentum=1.0), []),
        (keras.optimizers.RMSprop(1e-8), ["rate"]),
        (keras.optimizers.Adagrad(1e-6), ["rate"]),
        (keras.optimizers.Adagrad(0.01), []),
        (keras.optimizers.Ftrl(1e-8), []),
        (keras.optimizers.Adam(epsilon=100.0), ["rate"]),
        (keras.optimizers.SGD(0.1, clipvalue=1e-7), ["rate"]),
        (keras.optimizers.SGD(0.1, global_clipnorm=1e-6), ["rate"]),
        (keras.optimizers.Adam(global_clipnorm=1e-6), []),
        (keras.optimizers.Adam(ExponentialDecay(0.001, 1, 0.1), gradient_accumulation_steps=2), ["rate"]),
        (keras.optimizers.Adam(PiecewiseConstantDecay([9], [0.0, 0.001]), gradient_accumulation_steps=2), []),
    ],
    ids=[
        "Adam",
        "SGD",
        "0",
        "usual",
        "momentum of 1",
        "RMSprop",
        "Adagrad",
        "Adagrad, usual",
        "another method",
        "epsilon of 100",
        "clipped numbers",
        "clipped together",
        "Adam, clipped",
        "accumulated gradients",
        "accumulated, from 0",
    ],
)
def test_a_rate_with_which_weights_stay_where_they_are_is_named(optimizer, expected):
    model = network(1, "sigmoid")
    model.compile(optimizer, "binary_crossentropy")
    assert problems(model, SIDE) == expected
    assert int(keras.ops.convert_to_numpy(optimizer.iterations)) == 0  # as before


def test_one_target_for_all_positions_may_be_meant_where_it_is_always_the_same():
    patches = keras.Sequential([keras.Input((8,)), layers.Reshape((4, 2)), layers.Dense(1)])
    assert problems(patches, np.ones((64, 1)), "mse") == []
    assert problems(patches, X[:, :1], "mse") == ["unsuitable labels"]
