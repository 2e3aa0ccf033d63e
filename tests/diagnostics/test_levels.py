"""Verdicts have a level by what they do to training: what is harmless or meant is a note, and no problem."""

import csv
import io
import json

import keras
import numpy as np
import pytest
from asked import asked
from keras import layers

import keras_initx
from keras_initx.diagnostics import Remedy, Report, Verdict
from keras_initx.diagnostics._first_inputs import first_inputs
from keras_initx.diagnostics.losses.probes import outputs
from keras_initx.structure import ForwardGraph

# Measurements are tested in test_measure.py, kinds of faults in test_cases.py.

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(64, 16)).astype("float32")
IMAGES = GENERATOR.normal(size=(8, 8, 8, 16)).astype("float32")
NORMALIZATIONS = [
    layers.BatchNormalization,
    layers.RMSNormalization,
    lambda: layers.GroupNormalization(4),
]


def found(model, x=X):
    report = keras_initx.diagnose(model, x)
    return {(verdict.problem, verdict.level): verdict.layers for verdict in report.verdicts}


def images(*stack):
    return keras.Sequential([keras.Input((8, 8, 16)), *stack])


def depthwise(**arguments):
    return layers.DepthwiseConv2D(3, depthwise_initializer="he_normal", name="depthwise", **arguments)


def dense(name, kernel="glorot_uniform", activation=None, units=16):
    return layers.Dense(units, activation, kernel_initializer=kernel, name=name)


@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float32", "bfloat16")], ids=str)
def test_what_follows_is_seen_where_each_layer_casts_its_inputs(dtypes):
    one, other = dtypes
    stack = [
        layers.Dense(8, dtype=one),
        layers.LayerNormalization(dtype=other, name="norm"),
        layers.Dense(8, dtype=one),
    ]
    model = keras.Sequential([keras.Input((16,)), *stack, layers.ReLU(dtype=other)])
    report = keras_initx.diagnose(model, X)
    assert [layer.normalized_by for layer in report.layers] == ["norm", None, None, None]
    assert [layer.activated_by for layer in report.layers] == [None, None, "relu", None]
    assert list(asked(first_inputs, model, X)) == [report.layers[0].name]
    assert list(asked(outputs, model, X)) == [layer.name for layer in report.layers[2:]][::-1]


def test_what_follows_is_seen_in_code_of_ones_own_and_through_models():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.inner = keras.Sequential([keras.Input((8, 8, 16)), depthwise()])
            self.outer = keras.Sequential([keras.Input((6, 6, 16)), layers.BatchNormalization()])

        def call(self, inputs):
            return self.outer(self.inner(inputs))

    ((problem, names),) = found(images(Block()), IMAGES).items()
    assert problem == ("wrong fan", "note")
    assert names[0].endswith("/depthwise")


@pytest.mark.parametrize(
    ("normalization", "activation"),
    [*((one, None) for one in NORMALIZATIONS), (NORMALIZATIONS[0], "relu"), (NORMALIZATIONS[0], "layer")],
    ids=["batch", "rms", "group", "relu", "layer of relu"],
)
def test_a_large_signal_is_a_note_before_each_normalization(normalization, activation):
    large = keras.initializers.RandomNormal(stddev=1e4)
    stack = [dense("large", large, activation="relu" if activation == "relu" else None)]
    stack += [layers.ReLU()] if activation == "layer" else []
    model = keras.Sequential([keras.Input((16,)), *stack, normalization(), dense("out")])
    ((problem, names),) = found(model).items()
    assert problem == ("exploding", "note")
    assert "large" in names


@pytest.mark.parametrize("addition", ["layer", "operation"])
def test_a_large_signal_is_an_error_where_something_else_takes_the_output_too(addition):
    inputs = keras.Input((16,))
    hidden = dense("large", keras.initializers.RandomNormal(stddev=1e4))(inputs)
    normalized = layers.BatchNormalization()(hidden)
    outputs = layers.Add()([hidden, normalized]) if addition == "layer" else hidden + normalized
    assert "large" in found(keras.Model(inputs, outputs))["exploding", "error"]


def test_a_large_signal_before_a_normalization_is_a_note():
    large = keras.initializers.RandomNormal(stddev=1e4)
    model = keras.Sequential([keras.Input((16,)), dense("large", large), layers.LayerNormalization(), dense("out")])
    assert found(model) == {("exploding", "note"): ("large",)}
    assert "directly after large normalizes this scale" in keras_initx.diagnose(model, X).verdicts[0].evidence
    model = keras.Sequential([keras.Input((16,)), dense("large", large), dense("out")])
    assert found(model) == {("exploding", "error"): ("large", "out")}


@pytest.mark.parametrize("epsilon", [1e-12, 1e-3])
def test_a_small_signal_is_a_note_if_a_normalization_brings_it_back(epsilon):
    small = keras.initializers.RandomNormal(stddev=1e-6)
    stack = [dense("small", small), layers.LayerNormalization(epsilon=epsilon, name="norm"), dense("out")]
    verdicts = found(keras.Sequential([keras.Input((16,)), *stack]))
    if epsilon < 1e-6:
        assert verdicts == {("vanishing", "note"): ("small",)}
    else:
        # A variance of 1e-11 is nothing beside the epsilon of the normalization.
        assert verdicts == {("vanishing", "warning"): ("small", "norm", "out")}


def test_a_small_signal_that_is_added_to_another_is_a_note():
    inputs = keras.Input((16,))
    hidden = dense("first", activation="relu")(inputs)
    hidden += dense("branch", keras.initializers.RandomNormal(stddev=1e-6))(hidden)
    assert found(keras.Model(inputs, dense("out")(hidden))) == {("vanishing", "note"): ("branch",)}


def test_a_small_branch_is_not_blamed_for_what_vanishes_later():
    inputs = keras.Input((16,))
    branch, small = (dense(name, keras.initializers.RandomNormal(stddev=1e-5)) for name in ("branch", "small"))
    hidden = dense("hidden")(layers.Add()([inputs, branch(inputs)]))
    verdicts = found(keras.Model(inputs, dense("out")(small(hidden))))
    assert verdicts == {("vanishing", "warning"): ("small", "out"), ("vanishing", "note"): ("branch",)}


def test_zeros_of_the_last_layer_behind_other_zeros_are_an_error():
    model = keras.Sequential([keras.Input((16,)), dense("zero", "zeros", "tanh"), dense("out", "zeros")])
    assert found(model) == {("equal units", "error"): ("zero", "out")}


@pytest.mark.parametrize(("difference", "level"), [(1e-3, "note"), (1e-6, "error")])
def test_examples_that_differ_by_more_than_rounding_are_not_the_same(difference, level):
    inputs = keras.Input((16,))
    model = keras.Model(inputs, dense("out")(inputs + dense("zero", "zeros")(inputs)))
    assert found(model, 1 + difference * X)["equal units", level] == ("zero",)


def test_zeros_behind_which_a_bias_gives_the_same_for_all_examples_are_an_error():
    zero = layers.Dense(16, kernel_initializer="zeros", bias_initializer="random_normal", name="zero")
    model = keras.Sequential([keras.Input((16,)), zero, layers.LayerNormalization(), dense("out")])
    assert found(model) == {("equal units", "error"): ("zero",)}


def test_zeros_of_the_last_layer_are_a_note():
    stack = [dense("hidden", activation="relu"), dense("out", "zeros"), layers.Softmax()]
    assert found(keras.Sequential([keras.Input((16,)), *stack])) == {("equal units", "note"): ("out",)}


@pytest.mark.parametrize("zero", ["kernel", "gamma"])
def test_zeros_at_the_end_of_a_residual_branch_are_a_note(zero):
    inputs = hidden = keras.Input((16,))
    for number in range(2):
        branch = dense(f"branch_{number}", activation="relu")(
            layers.LayerNormalization(name=f"before_{number}")(hidden)
        )
        branch = dense(f"end_{number}", "zeros" if zero == "kernel" else "glorot_uniform")(branch)
        if zero == "gamma":
            branch = layers.BatchNormalization(gamma_initializer="zeros", name=f"gamma_{number}")(branch)
        hidden += layers.Dropout(0.1)(branch)
    names = ("end_0", "end_1") if zero == "kernel" else ("gamma_0", "gamma_1")
    assert found(keras.Model(inputs, dense("out")(hidden))) == {("equal units", "note"): names}


def test_zeros_of_a_residual_branch_do_not_hide_what_vanishes_later():
    inputs = keras.Input((16,))
    hidden = inputs + dense("branch", "zeros")(inputs)
    for number in range(4):
        hidden = dense(f"small_{number}", "initx.small_normal", "tanh")(hidden)
    verdicts = found(keras.Model(inputs, dense("out")(hidden)))
    assert verdicts["equal units", "note"] == ("branch",)
    assert "small_3" in verdicts["vanishing", "warning"]


@pytest.mark.parametrize(
    ("activation", "level", "end"),
    [("relu", "error", "middle"), ("gelu", "note", "middle"), ("relu", "error", "output")],
)
def test_zeros_that_get_no_gradient_stay_zeros(activation, level, end):
    inputs = keras.Input((16,))
    hidden = dense("first", activation=activation)(inputs)
    zero = dense("zero", "zeros", activation)(hidden)
    outputs = dense("out")(layers.Concatenate()([hidden, zero])) if end == "middle" else [dense("out")(hidden), zero]
    model = keras.Model(inputs, outputs)
    y = X[:, :16]
    report = keras_initx.diagnose(
        model, X, y if end == "middle" else [y, y], loss="mse" if end == "middle" else ["mse", None]
    )
    levels = {verdict.problem: verdict.level for verdict in report.verdicts if verdict.layers == ("zero",)}
    if end == "middle":
        assert levels == {"equal units": level}
    else:
        assert levels == {"equal units": "note", "no gradient": "warning"}
    assert [verdict.level for verdict in keras_initx.diagnose(model, X).verdicts] == ["note"]


@pytest.mark.parametrize(("depth", "level"), [(4, "warning"), (40, "error")])
def test_what_vanishes_is_an_error_where_no_gradient_is_left(depth, level):
    stack = [dense(f"small_{number}", keras.initializers.RandomNormal(stddev=0.01), "tanh") for number in range(depth)]
    model = keras.Sequential([keras.Input((16,)), *stack, dense("out")])
    levels = [verdict.level for verdict in keras_initx.diagnose(model, X, X, loss="mse").verdicts]
    assert levels[0] == level
    assert [verdict.level for verdict in keras_initx.diagnose(model, X).verdicts] == ["warning"]


def test_a_scale_of_zeros_that_nothing_passes_by_is_an_error():
    stack = [dense("hidden"), layers.BatchNormalization(gamma_initializer="zeros", name="norm"), dense("out")]
    report = keras_initx.diagnose(keras.Sequential([keras.Input((16,)), *stack]), X)
    (verdict,) = report.verdicts
    assert (verdict.problem, verdict.level, verdict.layers) == ("equal units", "error", ("norm",))
    assert verdict.remedy.text == "ones for the scale of a normalization"


def test_a_position_embedding_of_zeros_is_a_note():
    class Positions(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=shape[1:], initializer="zeros", name="table")

        def call(self, inputs):
            return inputs + self.table

    tokens = np.random.default_rng(0).integers(0, 20, (8, 5))
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(20, 8), Positions(name="positions"), dense("out")]
    )
    assert found(model, tokens) == {("equal units", "note"): ("positions",)}


@pytest.mark.parametrize("inputs", [1, 16], ids=["infinite", "nan"])
def test_what_is_not_finite_before_a_normalization_is_an_error(inputs):
    model = keras.Sequential(
        [keras.Input((16,)), dense("hidden"), layers.BatchNormalization(name="norm"), dense("out")]
    )
    kernel = np.array(keras.ops.convert_to_numpy(model.get_layer("hidden").kernel))
    kernel[:inputs, 5] = 3e38
    model.get_layer("hidden").kernel.assign(kernel)
    assert found(model) == {("exploding", "error"): ("hidden", "norm", "out")}


def test_a_graph_says_where_each_tensor_comes_from_and_goes_to():
    graph = ForwardGraph()
    x, hidden, other, both, cast, total, unknown, lost = (np.zeros(1) for _ in range(8))
    one, two, norm, last = layers.Dense(1), layers.Dense(1), layers.LayerNormalization(), layers.Dense(1)
    joining, adding = layers.Concatenate(), layers.Add()
    graph.add_inputs([x])
    for layer, output in ((one, hidden), (two, other)):
        graph.add_consumer(layer, [x])
        graph.add_outputs(layer, [x], [output], is_origin=True)
    graph.add_consumer(joining, [hidden, x])
    graph.add_outputs(joining, [hidden, x], [both], is_origin=False)
    graph.add_alias(both, cast)
    graph.add_alias(cast, cast)
    graph.add_consumer(adding, [other, cast])
    graph.add_outputs(adding, [other, cast], [total], is_origin=False)
    graph.add_outputs(adding, [unknown], [lost], is_origin=False)
    origins = {"x": None, "hidden": one, "other": two, "both": one, "cast": one, "total": two, "lost": None}
    tensors = {"x": x, "hidden": hidden, "other": other, "both": both, "cast": cast, "total": total, "lost": lost}
    assert {name: graph.origin(tensor) for name, tensor in tensors.items()} == origins
    assert [name for name, tensor in tensors.items() if graph.is_input(tensor)] == ["x"]
    # What was joined with outputs stays so in what is computed from it.
    joined = {name: [part is x for part in graph.joined(tensor)] for name, tensor in tensors.items()}
    assert {name for name, parts in joined.items() if parts == [True]} == {"both", "cast", "total"}
    assert {name for name, parts in joined.items() if not parts} == {"x", "hidden", "other", "lost"}
    assert (graph.only_consumer(one), graph.only_consumer(joining)) == (joining, adding)
    graph.add_consumer(norm, [hidden])
    assert graph.only_consumer(one) is None
    # Of two outputs one goes to a normalization, and the other nowhere.
    graph.add_outputs(last, [total], [values := np.zeros(1), rest := np.zeros(1)], is_origin=True)
    graph.add_consumer(norm, [values])
    assert graph.normalization_after(last) is None
    graph.add_consumer(norm, [rest])
    assert graph.normalization_after(last) is norm
    # A layer that passes its input on is no consumer of it.
    graph.add_consumer(adding, [rest])
    assert graph.normalization_after(last) is None
    graph.add_outputs(adding, [rest], [rest], is_origin=False)
    assert graph.normalization_after(last) is norm


def reported(*levels):
    return Report([], None, [Verdict("problem", (), "evidence", Remedy("remedy"), level) for level in levels])


@pytest.mark.parametrize(
    ("levels", "fails"),
    [
        ((), ()),
        (("note",), ("note",)),
        (("warning", "note"), ("note", "warning")),
        (("error",), ("note", "warning", "error")),
    ],
    ids=str,
)
def test_a_report_fails_on_a_level_or_a_more_serious_one(levels, fails):
    report = reported(*levels)
    assert {level for level in ("error", "warning", "note") if report.fails_on(level)} == set(fails)
    assert report.ok == ("warning" not in fails)


def test_a_level_is_one_of_three():
    with pytest.raises(ValueError, match=r"`level` must be one of \('error', 'warning', 'note'\). Received: level='n"):
        reported().fails_on("notes")


@pytest.fixture(scope="module")
def noted():
    """Return the report of a healthy model with a note."""
    keras.utils.set_random_seed(0)
    return keras_initx.diagnose(
        keras.Sequential([keras.Input((16,)), dense("hidden", activation="relu"), dense("out", "zeros")]), X
    )


def test_notes_are_no_problems_in_text(noted):
    lines = str(noted).splitlines()
    assert not any(line.startswith("!") for line in lines)
    assert lines[lines.index("No problem found.") + 2].startswith("equal units (note): all weights of out/kernel")
    assert repr(noted) == "<Report of 2 layers: no problem found>"
    assert "<b>No problem found.</b>" in noted._repr_html_()
    assert "<b>equal units (note)</b>" in noted._repr_html_()


def test_a_note_is_no_red_histogram(noted, tmp_path):
    noted.plot(tmp_path / "plot.svg")
    assert "#c0392b" not in (tmp_path / "plot.svg").read_text()


def test_data_has_the_levels(noted):
    data = json.loads(noted.to_json())
    assert data["ok"] is True
    assert data["verdicts"][0]["level"] == "note"
    assert [row["level"] for row in csv.DictReader(io.StringIO(noted.to_csv()))] == ["", "note"]
