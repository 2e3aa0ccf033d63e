"""A remedy that changes weights takes its problem away; `initialize` applies it."""

import dataclasses
import re

import keras
import numpy as np
import pytest
import strangers
from asked import asked
from keras import layers

import keras_initx
from keras_initx.diagnostics import Remedy, Verdict, _layers, _remedy
from keras_initx.diagnostics.verdicts._shared import remedy_in_depth
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
    found = _remedy.suited([], activation, is_deep=True)
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


@pytest.mark.parametrize(
    ("factor", "notes"),
    [
        (
            100,
            (
                "Nothing is applied: no remedy has rules.",
                "Left to you, for 'unscaled inputs': standardize the inputs: keras.layers.Normalization() adapted to "
                "the data.",
                "Left to you, for 'saturated': standardize the inputs (their standard deviation is 98.2).",
            ),
        ),
        (1, ("Nothing is applied: the report has no problem.",)),
    ],
    ids=["inputs", "nothing"],
)
def test_what_weights_do_not_cure_is_left_to_others(factor, notes, tmp_path):
    model = network()
    before = [value.copy() for value in model.get_weights()]
    plan = keras_initx.initialize(model, keras_initx.diagnose(model, factor * X), seed=0)
    assert plan.notes == notes
    assert [weight.reason for weight in plan.weights] == 8 * ["in no remedy"]
    plan.save(tmp_path / "plan.json")
    keras_initx.initialize(model, tmp_path / "plan.json")
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


# What is frozen, such as the weights of another training.


def tiny(count, **options):
    """Return layers in which signals vanish."""
    kernel = keras.initializers.RandomNormal(stddev=0.01)
    return [layers.Dense(20, "tanh", kernel_initializer=kernel, **options) for _ in range(count)]


def nested():
    backbone = keras.Sequential([keras.Input((20,)), *tiny(5)], name="backbone")
    backbone.trainable = False
    return keras.Sequential([keras.Input((20,)), backbone, layers.Dense(3)])


def of_frozen_weights():
    model = keras.Sequential([keras.Input((20,)), *tiny(5), layers.Dense(3)])
    for layer in model.layers[:-1]:
        layer.kernel.trainable = False
    return model


class Frozen(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = tiny(5, trainable=False)
        self.out = layers.Dense(3)

    def call(self, x):
        for layer in self.hidden:
            x = layer(x)
        return self.out(x)


def loaded(folder):
    nested().save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


FREEZING = {"nested": nested, "weights": of_frozen_weights, "subclassed": Frozen, "loaded": loaded}


@pytest.mark.parametrize("how", FREEZING)
@pytest.mark.parametrize("policy", ["float32", "bfloat16"])
def test_frozen_weights_are_left_and_the_remedy_says_so(how, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = loaded(tmp_path) if how == "loaded" else FREEZING[how]()
        report = keras_initx.diagnose(model, X)
    finally:
        keras.config.set_dtype_policy("float32")
    (verdict,) = report.problems
    assert verdict.problem == "vanishing"
    assert " and 3 more are frozen: the weights and inputs of their training, or" in verdict.remedy.text
    assert "; or keras.layers.Rescaling(" in verdict.remedy.text
    plan = keras_initx.initialize(model, report, seed=0)
    kernels = [weight for weight in plan.weights if weight.fan_in]
    assert [weight.reason for weight in kernels] == 5 * ["frozen"] + ["in no remedy"]


def test_those_that_are_not_frozen_are_drawn_if_they_are_the_cause():
    kept = layers.Dense(20, "tanh", trainable=False, name="kept")
    model = keras.Sequential([keras.Input((20,)), *tiny(3), kept, layers.Dense(3)])
    before = kept.get_weights()[0]
    report = keras_initx.diagnose(model, X)
    assert report.problems[0].remedy.text.endswith(" layers, without kept/kernel, which is frozen")
    plan = keras_initx.initialize(model, report, seed=0)
    assert {weight.path: weight.reason for weight in plan.weights}["kept/kernel"] == "frozen"
    assert keras_initx.diagnose(model, X).ok
    np.testing.assert_array_equal(kept.get_weights()[0], before)


SHUT = {"bias_initializer": keras.initializers.Constant(-6.0), "unit_forget_bias": False}
LARGE = {"kernel_initializer": keras.initializers.RandomNormal(stddev=20.0)}
DEAD = {"bias_initializer": keras.initializers.Constant(-10.0)}


@pytest.mark.parametrize(
    ("shape", "make", "problem"),
    [
        ((12, 6), lambda: [layers.LSTM(4, **SHUT, trainable=False)], "memory"),
        ((20,), lambda: [layers.Dense(20, "relu", **DEAD, trainable=False)], "dead units"),
        ((20,), lambda: [layers.Dense(4, "softmax", **LARGE, trainable=False, name="kept")], "saturated"),
    ],
    ids=["gates", "dead units", "last layer"],
)
def test_no_remedy_draws_what_is_frozen(shape, make, problem):
    model = keras.Sequential([keras.Input(shape), *make()])
    verdict = keras_initx.diagnose(model, np.random.default_rng(0).normal(size=(64, *shape))).problems[0]
    assert verdict.problem == problem
    assert "frozen: with trainable=True, " in verdict.remedy.text
    assert not verdict.remedy.weights


# What is there already.


SEQUENCES = np.random.default_rng(0).normal(size=(32, 60, 8)).astype("float32")
GROWING = {"recurrent_initializer": keras.initializers.RandomNormal(stddev=3.0)}


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: layers.GRU(16, **GROWING), 1),
        (lambda: layers.LSTM(16, **GROWING, return_sequences=True), 1),
        (lambda: layers.Bidirectional(layers.GRU(16, **GROWING)), 2),
        (lambda: layers.RNN([layers.GRUCell(16), layers.GRUCell(16, **GROWING)]), 1),
    ],
    ids=["GRU", "LSTM", "both directions", "stacked"],
)
def test_recurrent_kernels_by_which_gradients_explode_are_drawn_once(make, count):
    model = keras.Sequential([keras.Input((60, 8)), make(), layers.Dense(1)])
    keras_initx.initialize(model, seed=0)
    y = np.ones((32, 60, 1) if len(model.output_shape) == 3 else (32, 1))
    report = keras_initx.diagnose(model, SEQUENCES, y, loss="mse")
    assert [verdict.problem for verdict in report.problems] == ["exploding"]
    plan = keras_initx.initialize(model, report, seed=0)
    drawn = [weight.path.rpartition("/")[2] for weight in plan.weights if weight.initializer]
    assert drawn == count * ["recurrent_kernel"]
    assert keras_initx.diagnose(model, SEQUENCES, y, loss="mse").ok


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (keras_initx.Orthogonal("relu"), []),
        (keras_initx.HeNormal(), ['keras_initx.Orthogonal(gain="relu")']),
        (keras_initx.SmallNormal(), ['keras_initx.Orthogonal(gain="relu")', "keras_initx.HeNormal()"]),
    ],
)
def test_weights_are_not_drawn_anew_by_what_they_have_nor_by_what_comes_after_it(kernel, expected):
    model = keras.Sequential([keras.Input((20,)), layers.Dense(64, "relu", kernel_initializer=kernel, name="one")])
    choices = _remedy.suited([], "relu", is_deep=True)
    left = asked(lambda of: _remedy.not_yet_drawn(choices, ["one/kernel"], of), model, X)
    assert [text for _, text in left] == expected


@pytest.mark.parametrize("loss_weight", [1.0, 1e-11], ids=["vanishing", "small"])
def test_defaults_of_adam_are_not_advised_where_it_has_them(loss_weight):
    hidden = tiny(5) if loss_weight == 1 else [layers.Dense(20, "tanh")]
    model = keras.Sequential([keras.Input((20,)), *hidden, layers.Dense(1)])
    model.compile("adam", "mse", loss_weights=loss_weight)
    report = keras_initx.diagnose(model, X, X[:, :1])
    found = {verdict.problem: verdict.remedy.text for verdict in report.problems}
    assert "rate" in found if loss_weight < 1 else "vanishing" in found
    assert not [text for text in found.values() if "keras.optimizers.Adam()" in text]


def test_a_scale_of_the_inputs_that_is_there_is_to_be_another_one():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3)).astype("float32")
    convolution = [layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(1)]
    for scaling, remedy in {
        layers.Rescaling(10.0, name="scaling"): "another scale and offset in scaling,",
        layers.Normalization(mean=0.0, variance=1.0, name="scaling"): "standardize the inputs: scaling adapted to",
    }.items():
        model = keras.Sequential([keras.Input((8, 8, 3)), scaling, *convolution])
        assert keras_initx.diagnose(model, pixels).problems[0].remedy.text.startswith(remedy)


@pytest.mark.parametrize(
    ("between", "remedy"),
    [
        ([], "keras.layers.BatchNormalization() before each activation"),
        ([layers.LayerNormalization], "residual branches, x + f(x), around these layers"),
    ],
    ids=["none", "before each activation"],
)
def test_normalizations_are_advised_in_depth_where_there_are_none(between, remedy):
    hidden = []
    for _ in range(50):
        hidden += [layers.Dense(20, kernel_initializer=keras_initx.Orthogonal()), *[make() for make in between]]
        hidden.append(layers.Activation("softplus" if between else "tanh"))
    model = keras.Sequential(
        [keras.Input((20,)), *hidden, layers.Dense(3, kernel_initializer=keras_initx.Orthogonal())]
    )
    text = asked(lambda of: remedy_in_depth(_layers.layers(of), of).text, model, X)
    assert text == remedy


def test_a_mask_that_a_layer_drops_is_not_advised():
    tokens = np.pad(np.random.default_rng(0).integers(1, 50, (32, 3)), ((0, 0), (0, 57)))
    table = layers.Embedding(50, 8, mask_zero=True)
    drops = layers.Lambda(lambda x: 1 * x)
    model = keras.Sequential([keras.Input((60,)), table, drops, layers.LSTM(16), layers.Dense(1)])
    (verdict,) = keras_initx.diagnose(model, tokens).problems
    assert verdict.remedy.text == "padding in front of the sequences, not behind"


# Tables whose rows the outputs are products with.


class LanguageModel(keras.Model):
    def __init__(self, table, head):
        super().__init__()
        self.table, self.head = table, head
        self.norm, self.hidden = layers.LayerNormalization(), layers.Dense(64)

    def call(self, tokens):
        return self.head(self.table, self.norm(self.hidden(self.table(tokens))))


def product(table, x):
    return keras.ops.matmul(x, keras.ops.transpose(table.embeddings))


def functional(table, head):
    inputs = keras.Input((12,))  # of floats
    return keras.Model(inputs, head(table, layers.LayerNormalization()(table(inputs))))


def reverse(table, x):
    return table(x, reverse=True)


@pytest.mark.every_backend
@pytest.mark.parametrize(("make", "head"), [(LanguageModel, product), (LanguageModel, reverse), (functional, reverse)])
def test_the_rows_of_a_tied_table_are_made_smaller(make, head):
    if head is reverse and not hasattr(layers, "ReversibleEmbedding"):
        pytest.skip("this Keras has no such layer")
    keras.utils.set_random_seed(0)
    kind = layers.Embedding if head is product else layers.ReversibleEmbedding
    table = kind(50, 64, embeddings_initializer=keras.initializers.RandomNormal(stddev=4.0), name="words")
    model = make(table, head)
    tokens = np.random.default_rng(0).integers(0, 50, (16, 13))
    x, y = tokens[:, :-1], tokens[:, 1:]
    model(x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    report = keras_initx.diagnose(model, x, y, loss=loss)
    (verdict,) = report.problems
    assert "products with rows of words/embeddings, which have " in verdict.evidence
    assert verdict.remedy.text == "smaller rows of words/embeddings: keras_initx.RandomNormal(64 ** -0.5)"
    keras_initx.initialize(model, report, seed=0)
    assert keras_initx.diagnose(model, x, y, loss=loss).ok


# Sentences about numbers.


@pytest.mark.parametrize(
    ("factor", "evidence"),
    [
        (1e5, r"the standard deviation is .* in hidden and .* in out \(2 layers\), already .* at the inputs"),
        (1, r"the standard deviation grows from .* at the inputs to .* in hidden and .* in out \(2 layers\)"),
    ],
)
def test_what_does_not_grow_is_a_level(factor, evidence):
    kernel = keras.initializers.RandomNormal(stddev=1e4 if factor == 1 else 0.1)
    hidden = layers.Dense(20, kernel_initializer=kernel, name="hidden")
    model = keras.Sequential([keras.Input((20,)), hidden, layers.Dense(3, name="out")])
    verdict = keras_initx.diagnose(model, factor * X).problems[-1]
    assert verdict.problem == "exploding"
    assert re.fullmatch(evidence, verdict.evidence)
