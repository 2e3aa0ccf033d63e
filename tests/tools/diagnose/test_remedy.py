"""A remedy that changes weights takes its problem away; `initialize` applies it."""

import dataclasses

import keras
import numpy as np
import pytest
from diagnosed import FAULTY, HEALTHY
from diagnosed.networks import in_precision
from keras import layers
from modes import needs_keras

import keras_initx
from keras_initx.types import Remedy, Verdict

ROWS = np.random.default_rng(0).normal(size=(64, 20)).astype("float32")

# Keras itself warns of one of the faults.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def network(**options):
    hidden = [layers.Dense(20, "tanh", name=f"hidden_{number}", **options) for number in (1, 2, 3)]
    model = keras.Sequential([keras.Input((20,)), *hidden, layers.Dense(3, name="out")])
    model.compile("adam", "mse")
    return model


def test_initialize_applies_the_first_remedy_of_weights_to_the_layers_that_it_names():
    model = network(kernel_initializer="initx.small_normal")
    out = model.get_layer("out").get_weights()
    report = keras_initx.diagnose(model, ROWS)
    assert [verdict.problem for verdict in report.problems] == ["vanishing"]
    plan = keras_initx.initialize(model, report, seed=0)
    drawn = {weight.path: weight.initializer for weight in plan.rows if weight.initializer}
    assert drawn == {f"hidden_{number}/kernel": "GlorotUniform()" for number in (1, 2, 3)} | (
        {"out/kernel": "GlorotUniform()"} if "out" in report.problems[0].layers else {}
    )
    assert keras_initx.diagnose(model, ROWS).ok
    np.testing.assert_array_equal(model.get_layer("out").get_weights()[1], out[1])


def test_a_dry_run_of_a_report_changes_nothing():
    model = network(kernel_initializer="zeros")
    plan = keras_initx.initialize(model, keras_initx.diagnose(model, ROWS), seed=0, dry_run=True)
    assert not np.any(model.get_layer("hidden_1").get_weights()[0])
    assert plan.rows[0].initializer == "GlorotUniform()"


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
    plan = keras_initx.initialize(model, keras_initx.diagnose(model, factor * ROWS), seed=0)
    assert plan.notes == notes
    assert [weight.detail for weight in plan.rows] == 8 * ["in no remedy"]
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
    report = dataclasses.replace(keras_initx.diagnose(model, ROWS), verdicts=verdicts)
    plan = keras_initx.initialize(model, report, seed=0)
    assert model.get_layer("out").get_weights()[1].tolist() == [1, 1, 1]
    assert plan.notes == (
        "Left to you, for 'of inputs': more data.",
        "Applied, for 'of loss or weights': Ones() in 1 weight.",
        "For the next diagnosis, if it finds 'of weights': twos.",
    )
    assert str(plan).endswith("\n".join(plan.notes))


def test_a_report_of_another_model_is_refused():
    report = keras_initx.diagnose(network(kernel_initializer="zeros"), ROWS)
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
    report = keras_initx.diagnose(deep(3, nested, kernel_initializer="zeros"), ROWS)
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
    model(ROWS)
    report = keras_initx.diagnose(model, ROWS)
    if change == "freeze":
        model.hidden.trainable = False
    if change == "lora":
        model.out.enable_lora(2)
    keras_initx.initialize(model, report, seed=0)
    assert np.any(model.hidden.get_weights()[0])


# What is there already.


@pytest.mark.parametrize("loss_weight", [1.0, 1e-11], ids=["vanishing", "small"])
def test_defaults_of_adam_are_not_advised_where_it_has_them(loss_weight):
    tiny = keras.initializers.RandomNormal(stddev=0.01)
    kernels = ["glorot_uniform"] if loss_weight < 1 else [tiny] * 5
    hidden = [layers.Dense(20, "tanh", kernel_initializer=kernel) for kernel in kernels]
    model = keras.Sequential([keras.Input((20,)), *hidden, layers.Dense(1)])
    model.compile("adam", "mse", loss_weights=loss_weight)
    report = keras_initx.diagnose(model, ROWS, ROWS[:, :1])
    found = {verdict.problem: verdict.remedy.text for verdict in report.problems}
    assert "rate" in found if loss_weight < 1 else "vanishing" in found
    assert not [text for text in found.values() if "keras.optimizers.Adam()" in text]


def test_a_scale_of_the_inputs_that_is_there_is_to_be_another_one():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3)).astype("float32")
    convolution = [layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(1)]
    for scaling, remedy in {
        layers.Rescaling(10.0, name="scaling"): "set another scale and offset in scaling,",
        layers.Normalization(mean=0.0, variance=1.0, name="scaling"): "standardize the inputs: adapt scaling to",
    }.items():
        model = keras.Sequential([keras.Input((8, 8, 3)), scaling, *convolution])
        assert keras_initx.diagnose(model, pixels).problems[0].remedy.text.startswith(remedy)


def test_a_mask_that_a_layer_drops_is_not_advised():
    tokens = np.pad(np.random.default_rng(0).integers(1, 50, (32, 3)), ((0, 0), (0, 57)))
    table = layers.Embedding(50, 8, mask_zero=True)
    drops = layers.Lambda(lambda x: 1 * x)
    model = keras.Sequential([keras.Input((60,)), table, drops, layers.LSTM(16), layers.Dense(1)])
    (verdict,) = keras_initx.diagnose(model, tokens).problems
    assert verdict.remedy.text == "pad sequences in front, not at the end"


@pytest.mark.rare
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FAULTY)
def test_no_verdict_proposes_what_the_first_remedy_has_drawn(name):
    """Of what is drawn twice, the second remedy has other weights or another initializer."""
    case = FAULTY[name]
    keras.utils.set_random_seed(0)
    model, x, y, loss = case.build(False)
    drawn = []
    for seed in range(2):
        report = keras_initx.diagnose(model, x, y, loss=loss)
        remedies = [dict(one.remedy.weights) for one in report.problems if one.remedy.weights]
        for rules in remedies:
            assert all(dict(rules) != before for before in drawn)
        if not remedies:
            return
        drawn.append(remedies[0])
        keras_initx.initialize(model, report, seed=seed)


@pytest.mark.rare
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=needs_keras("3.11", "has finite gradients of RMSNormalization in float16"))
        if "RMS" in name
        else name
        for name in HEALTHY
    ],
)
def test_no_weights_are_drawn_for_a_healthy_network(name, policy):
    keras.utils.set_random_seed(0)
    model, x, y, loss = in_precision(policy, HEALTHY[name])
    report = keras_initx.diagnose(model, x, y, loss=loss)
    assert report.problems == []
    plan = keras_initx.initialize(model, report, seed=0, dry_run=True)
    assert [weight.path for weight in plan.rows if weight.initializer] == []
