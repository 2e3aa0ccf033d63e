"""A remedy that changes weights takes its problem away; `initialize` applies it."""

import dataclasses

import keras
import numpy as np
import pytest
import strangers
from keras import layers

import keras_initx
from keras_initx.diagnostics import Remedy, Verdict, _remedy
from keras_initx.structure import hidden_branch_ends

X = np.random.default_rng(0).normal(size=(64, 20)).astype("float32")

# Keras itself warns of one of the faults.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", ['Orthogonal(gain="relu")', "HeNormal()"]),
        ("leaky_relu", ['Orthogonal(gain="leaky_relu")', "HeNormal()"]),
        ("tanh", ["Orthogonal()", "GlorotUniform()"]),
        ("gelu", []),
    ],
)
def test_the_remedy_in_depth_suits_the_activation(activation, expected):
    found = _remedy.suitable_in_depth([], activation)
    assert [text for _, text in found] == [f"keras_initx.{expression}" for expression in expected]


def network(**options):
    hidden = [layers.Dense(20, "tanh", name=f"hidden_{number}", **options) for number in (1, 2, 3)]
    model = keras.Sequential([keras.Input((20,)), *hidden, layers.Dense(3, name="out")])
    model.compile("adam", "mse")
    return model


def test_initialize_applies_the_first_remedy_of_weights_to_the_layers_that_it_names():
    model = network(kernel_initializer="initx.small_normal")
    out = model.get_layer("out").get_weights()
    report = keras_initx.diagnose(model, X)
    assert [verdict.problem for verdict in report.problems] == ["vanishing"]
    plan = keras_initx.initialize(model, report, seed=0)
    drawn = {weight.path: weight.initializer for weight in plan.weights if weight.initializer}
    assert drawn == {f"hidden_{number}/kernel": "GlorotUniform()" for number in (1, 2, 3)} | (
        {"out/kernel": "GlorotUniform()"} if "out" in report.problems[0].layers else {}
    )
    assert keras_initx.diagnose(model, X).ok
    np.testing.assert_array_equal(model.get_layer("out").get_weights()[1], out[1])


def test_a_dry_run_of_a_report_changes_nothing():
    model = network(kernel_initializer="zeros")
    plan = keras_initx.initialize(model, keras_initx.diagnose(model, X), seed=0, dry_run=True)
    assert not np.any(model.get_layer("hidden_1").get_weights()[0])
    assert plan.weights[0].initializer == "GlorotUniform()"


def test_what_weights_do_not_cure_is_left_to_others():
    model = network()
    report = keras_initx.diagnose(model, 100 * X)
    assert report.problems[0].problem == "unscaled inputs"
    before = [value.copy() for value in model.get_weights()]
    with pytest.raises(
        ValueError,
        match=r"a problem that other weights cure. .*yourself:\n- unscaled inputs: standardize the inputs",
    ):
        keras_initx.initialize(model, report, seed=0)
    for value, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, other)


def test_of_several_problems_the_first_that_weights_cure_is_cured():
    model = network()
    remedy = Remedy("a loss").otherwise(Remedy("ones", {"out/bias": "ones"}))
    others = Remedy("twos", {"out/bias": keras.initializers.Constant(2.0)})
    verdicts = [
        Verdict("of inputs", (), "evidence", Remedy("more data")),
        Verdict("of loss or weights", (), "evidence", remedy),
        Verdict("of weights", (), "evidence", others),
    ]
    report = dataclasses.replace(keras_initx.diagnose(model, X), verdicts=verdicts)
    plan = keras_initx.initialize(model, report, seed=0)
    assert model.get_layer("out").get_weights()[1].tolist() == [1, 1, 1]
    assert plan.notes == (
        "Left to you, for 'of inputs': more data.",
        "Applied, for 'of loss or weights': Ones() in 1 weight.",
        "For the next diagnosis, if it finds 'of weights': twos.",
    )
    assert str(plan).endswith("\n".join(plan.notes))


def test_a_report_of_another_model_is_refused():
    report = keras_initx.diagnose(network(kernel_initializer="zeros"), X)
    other = keras.Sequential([keras.Input((20,)), layers.Dense(3, name="other")])
    with pytest.raises(ValueError, match="`rules` must be a report of a model with the layers of `model`"):
        keras_initx.initialize(other, report)


def deep(depth, nested=False, **options):
    """Return a network of `depth` hidden layers, of which each has the path of one of a deeper network."""
    hidden = [layers.Dense(20, "tanh", **options) for _ in range(depth)]
    stack = [*hidden, layers.Dense(3, name="out")]
    if nested:
        stack = [keras.Input((20,)), keras.Sequential([keras.Input((20,)), *stack], name="inside")]
        return keras.Sequential(stack)
    return keras.Sequential([keras.Input((20,)), *stack])


@pytest.mark.parametrize(
    ("depth", "message", "nested"),
    [(4, "the report has no 'inside/dense_3'", True), (2, "the model has no 'dense_2'", False)],
    ids=["fewer", "more"],
)
def test_a_report_of_fewer_or_more_layers_is_refused_and_nothing_changes(depth, message, nested):
    report = keras_initx.diagnose(deep(3, nested, kernel_initializer="zeros"), X)
    other = deep(depth, nested)
    before = other.get_weights()
    with pytest.raises(ValueError, match=f"`rules` must be a report of a model with .*{message}"):
        keras_initx.initialize(other, report)
    for value, former in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, former)


class Uncalled(keras.Model):
    """Has layers of each kind that its `call` leaves out, and statistics that are single numbers."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(20, "tanh", kernel_initializer="zeros")
        self.out = layers.Dense(3)
        self.flat = [layers.Dense(2), layers.BatchNormalization(), layers.Normalization(axis=None)]
        self.recurrent = [
            layers.LSTM(2),
            layers.Bidirectional(layers.GRU(2)),
            layers.RNN([layers.LSTMCell(2), layers.GRUCell(2)]),
            layers.TimeDistributed(layers.Dense(2)),
        ]

    def build(self, shape):
        for layer in (self.hidden, self.out, *self.flat):
            layer.build((None, 20))
        for layer in self.recurrent:
            layer.build((None, 4, 20))

    def call(self, x):
        return self.out(self.hidden(x))


@pytest.mark.parametrize("change", ["nothing", "freeze", "lora"])
def test_a_report_fits_its_model_with_layers_that_are_never_called(change):
    model = Uncalled()
    model(X)
    report = keras_initx.diagnose(model, X)
    if change == "freeze":
        model.hidden.trainable = False
    if change == "lora":
        model.out.enable_lora(2)
    keras_initx.initialize(model, report, seed=0)
    assert np.any(model.hidden.get_weights()[0])


@pytest.mark.parametrize(
    ("place", "policy"),
    [
        ("alone", "mixed_bfloat16"),
        ("stacked", "float32"),
        ("both ways", "mixed_float16"),
    ],
)
def test_gates_are_opened_wherever_their_cell_is(place, policy):
    shut = {"bias_initializer": keras.initializers.Constant(-6.0), "unit_forget_bias": False, "dtype": policy}
    layer = {
        "alone": lambda: layers.LSTM(4, **shut),
        "stacked": lambda: layers.RNN([layers.LSTMCell(4, **shut), layers.GRUCell(4, dtype=policy)], dtype=policy),
        "both ways": lambda: layers.Bidirectional(layers.LSTM(4, **shut), dtype=policy),
    }[place]()
    model = keras.Sequential([keras.Input((12, 6)), layer, layers.Dense(2, dtype=policy)])
    x = np.random.default_rng(0).normal(size=(64, 12, 6)).astype("float32")
    report = keras_initx.diagnose(model, x)
    assert report.problems[0].problem == "memory"
    plan = keras_initx.initialize(model, report, seed=0)
    assert {weight.initializer for weight in plan.weights} == {"LSTMForgetBias()", None}
    assert keras_initx.diagnose(model, x).ok


@pytest.mark.parametrize(
    "end",
    [
        [lambda: layers.Dense(16, "relu")],
        [lambda: layers.Dense(16), layers.BatchNormalization, layers.ReLU],
    ],
    ids=["ReLU of a kernel", "ReLU of a scale"],
)
def test_branches_that_start_small_learn(end):
    outputs = inputs = keras.Input((20,))
    outputs = layers.Dense(16, "relu", kernel_initializer="he_normal")(outputs)
    for _ in range(16):
        branch = outputs
        for layer in end:
            branch = layer()(branch)
        outputs = layers.Add()([outputs, branch])
    model = keras.Model(inputs, layers.Dense(4, kernel_initializer="he_normal")(outputs))
    keras_initx.initialize(model, seed=0)
    labels = np.arange(64) % 4
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    report = keras_initx.diagnose(model, X, labels, loss=loss)
    assert not report.ok
    keras_initx.initialize(model, report, seed=0)
    report = keras_initx.diagnose(model, X, labels, loss=loss)
    assert report.ok
    assert not [verdict for verdict in report.verdicts if verdict.remedy.rules]  # none undoes the one before
    model.compile("sgd", loss)
    kernels = [layer.kernel for layer in model.layers if isinstance(layer, layers.Dense)]
    before = list(map(keras.ops.convert_to_numpy, kernels))
    for _ in range(2):
        model.train_on_batch(X, labels)
    for kernel, former in zip(kernels, before, strict=True):
        assert (keras.ops.convert_to_numpy(kernel) != former).any()


class Block(layers.Layer):
    """A residual block of a user, whose sum only its `call` shows."""

    def __init__(self, after=keras.activations.linear):
        super().__init__()
        self.first = layers.Dense(16, "relu", kernel_initializer="he_normal")
        self.last = layers.Dense(16, kernel_initializer="he_normal")
        self.after = after

    def build(self, shape):
        self.first.build(shape)
        self.last.build(shape)

    def call(self, x):
        return x + self.after(self.last(self.first(x)))


def of_blocks(**options):
    return keras.Sequential(
        [keras.Input((20,)), layers.Dense(16), *[Block(**options) for _ in range(16)], layers.Dense(4)]
    )


def test_branches_in_the_call_of_a_users_layer_start_small_too():
    model = of_blocks()
    keras_initx.initialize(model, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    report = keras_initx.diagnose(model, X, np.arange(64) % 4, loss=loss)
    assert 'kernel_initializer="zeros" in the last layer of each residual branch' in report.problems[0].remedy.text
    keras_initx.initialize(model, report, seed=0)
    report = keras_initx.diagnose(model, X, np.arange(64) % 4, loss=loss)
    assert report.ok
    assert [verdict.remedy.text for verdict in report.verdicts] == [
        "none, if this is intended: the branches open in training"
    ]


def test_zeros_before_an_operation_of_a_users_layer_are_not_advised():
    assert len(hidden_branch_ends(of_blocks())) == 16
    assert not hidden_branch_ends(of_blocks(after=keras.ops.relu))


def test_attention_in_a_users_layer_ends_a_branch_with_its_outputs():
    model = strangers.gpt()
    ends = {name.rpartition("/")[2] for name in hidden_branch_ends(model)}
    assert ends == {"attention_output", model.blocks[0].down.name, model.blocks[1].down.name}
