"""The first layer that differs is named, and clean pairs are silent."""

import json

import keras
import numpy as np
import pytest
from keras import layers
from modes import often
from planted import X, drawn, gelu_by_tanh, network, with_values_of
from results import points

import keras_initx
from keras_initx import compare_outputs, recipes, record_outputs


@pytest.fixture(scope="module")
def source():
    return drawn(network())


@pytest.fixture(scope="module")
def recorded(source):
    return record_outputs(source, X)


def swap_heads(model):
    kernel = model.get_layer("attention").query_dense.kernel
    kernel.assign(keras.ops.flip(kernel, 1))


def swap_kernels(model):
    up, down = model.get_layer("up").kernel, model.get_layer("down").kernel
    values = np.array(keras.ops.convert_to_numpy(up))
    up.assign(down)
    down.assign(values)


def forget_variance(model):
    model.get_layer("batch_norm").moving_variance.assign(np.ones(16))


PLANTED = {
    "an epsilon": ({"epsilon": 1e-5}, None, "norm", "epsilon: 1e-05 here, 1e-06 there"),
    "a GELU by tanh": ({"activation": gelu_by_tanh}, None, "up", "its activation, before which the outputs are equal"),
    "padding with strides": ({"is_padded": True}, None, "stem", None),
    "a mask": (
        {"is_causal": False},
        None,
        "attention/attention_output",
        "attention: use_causal_mask: False here, True there",
    ),
    "the order of heads": ({}, swap_heads, "attention/query", None),
    "the base of a rotary embedding": ({"base": 500000.0}, None, "rotary", "base: 500000.0 here, 10000.0 there"),
    "the offset of a norm": ({"offset": 1.0}, None, "rms_norm", "offset: 1.0 here, 0.0 there"),
    "a bias that is missing": ({"use_bias": False}, None, "up", "use_bias: False here, True there"),
    "kernels that are exchanged": ({}, swap_kernels, "up", None),
    "a moving variance that was not loaded": ({}, forget_variance, "batch_norm", None),
    "an activation": ({"last": "sigmoid"}, None, "logits", "activation: sigmoid here, tanh there"),
}


@pytest.mark.parametrize("planted", often(PLANTED, [*PLANTED][::2]))
def test_a_difference_is_found_in_its_layer(source, recorded, planted):
    changes, change, path, reason = PLANTED[planted]
    model = with_values_of(network(**changes), source)
    if change is not None:
        change(model)
    report = compare_outputs(model, X, recorded)
    assert not report.ok
    assert report.first.path == path
    assert report.first is report.problems[0]
    if reason is not None:
        assert reason in report.reasons


def test_a_dropout_that_is_on_is_not_known_to_be_equal(source, recorded):
    report = compare_outputs(with_values_of(network(is_noisy=True), source), X, recorded)
    assert not report.ok
    assert report.first is None
    assert report["drop/dropout"].status == "not known"
    assert "Not known, random: two calls of it here differ: drop/dropout, drop" in " ".join(str(report).split())


@pytest.mark.release_backends
def test_equal_models_are_equal(source, recorded):
    report = compare_outputs(with_values_of(network(), source), X, recorded)
    assert report.ok
    assert (report.first, report.between, report.problems, report.unmatched) == (None, None, [], [])
    assert {row.status for row in report.rows} == {"equal"}
    assert {row.tolerance for row in report.rows} == {5e-6}
    assert " ".join(str(report).split()) == (
        "20 of 20 calls compared, all equal; the outputs of the model are equal. Tolerance: 5e-6 in float32."
    )


def test_another_model_is_recorded_with_the_same_inputs(source):
    model = with_values_of(network(), source)
    assert compare_outputs(model, X, source).ok
    model.get_layer("rms_norm").scale.assign(np.full(16, 1.1))
    report = compare_outputs(model, X, source)
    assert str(report.first).startswith("rms_norm: inputs differ by ")
    assert report.between.after == ("add",)
    with pytest.raises(TypeError, match=r"use `\.ok`"):
        bool(report)


def test_other_inputs_are_told(source, recorded):
    report = compare_outputs(source, X[::-1], recorded)
    assert report.first.path == "stem"
    assert report.reasons[0].startswith("the inputs of the models differ by 1.4 of their size")
    assert report.first.detail == "the same values in another order"


def test_an_output_of_the_model_must_be_compared(source):
    stem = keras.ops.convert_to_numpy(source.get_layer("stem")(X))
    report = compare_outputs(source, X, {"stem": stem})
    assert not report.ok
    assert report.first is None
    assert [row.path for row in report.problems] == ["net"]
    assert "the outputs of the model were not compared (no counterpart)" in report.summary
    whole = keras.ops.convert_to_numpy(source(X))
    assert compare_outputs(source, X, {"stem": stem, "net": whole}).ok


def test_what_cannot_be_compared_is_said(source, recorded):
    like = {
        "stem": np.zeros(3),
        "net": np.zeros((4, 5), "float16"),
        "pool": np.zeros((4, 16)),
        "norm": np.zeros((4, 36, 16), int),
    }
    report = compare_outputs(source, X, like)
    how = {row.path: row.detail for row in report.rows}
    assert how["stem"] == "other shape: (4, 6, 6, 16) here, (3,) there"
    assert how["net"] == "other dtype: float32 here, float16 there"
    assert how["norm"] == "other dtype: float32 here, int64 there"


@pytest.mark.parametrize("like", [{}, {"other": np.zeros(3)}, {"stem": np.zeros(3)}])
def test_where_nothing_can_be_compared_it_is_an_error(source, like):
    with pytest.raises(ValueError, match="`like` must have outputs of layers that the model has"):
        compare_outputs(source, X, like)


@pytest.mark.parametrize("like", [3, {"stem": "text"}, {1: np.zeros(3)}, [np.zeros(3)]])
def test_other_things_are_refused(source, like):
    with pytest.raises(TypeError, match="`like` must be"):
        compare_outputs(source, X, like)


def test_a_growing_model_computes_the_same():
    def deep(count):
        x = inputs = keras.Input((8,))
        for number in range(count):
            y = layers.LayerNormalization(name=f"norm_{number}")(x)
            y = layers.Dense(16, "gelu", name=f"up_{number}")(y)
            x = x + layers.Dense(8, name=f"down_{number}")(y)
        return keras.Model(inputs, layers.Dense(3, name="head")(x), name="net")

    x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
    small = drawn(deep(2))
    grown = deep(4)
    keras_initx.initialize(grown, recipes.zero_residual, seed=0)
    shared = {weight.path: weight for weight in grown.weights}
    for weight in small.weights:
        shared[weight.path].assign(weight.value)
    names = {"*_0": "{0}_0", "*_1": "{0}_1", "head": "head"}
    report = compare_outputs(grown, x, small, names=names)
    assert report.ok
    assert report.rows[-1].outputs == 0


@pytest.fixture
def in_16_bits():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(policy)


@pytest.mark.rare
@pytest.mark.release_backends
def test_a_clean_pair_in_16_bits_is_silent(source, in_16_bits):
    model = with_values_of(network(), source)
    other = with_values_of(network(epsilon=1e-5), source)
    report = compare_outputs(model, X, other)
    assert report.ok
    assert "in bfloat16. Remedy: compare in float32 to see smaller differences" in report.summary
    shifted = with_values_of(network(offset=1.0), source)
    assert compare_outputs(shifted, X, model).first.path == "rms_norm"


def test_16_bits_are_not_compared_with_32(source, recorded, in_16_bits):
    with pytest.raises(ValueError, match="other dtype: bfloat16 here, float32 there"):
        compare_outputs(with_values_of(network(), source), X, recorded)


def test_text_json_and_figure_show_the_first_difference(source, recorded):
    report = compare_outputs(with_values_of(network(epsilon=1e-5), source), X, recorded)
    text = str(report)
    for part in (
        "First difference: norm: inputs differ by 0, outputs by",
        "What differs in norm: epsilon: 1e-05 here, 1e-06",
    ):
        assert part in text.replace("\n", " ")
    assert json.loads(report.to_json())["between"]["after"] == ["tokens"]
    shown = points(report.plot())
    assert shown.keys() == {"tolerance", "equal", "differs"}
    assert {value for _, value in shown["tolerance"]} == {5e-6}
    differing = [(place, row.outputs) for place, row in enumerate(report.rows, 1) if row.status == "differs"]
    assert shown["differs"] == differing
    assert report.rows[differing[0][0] - 1] is report.first


def proof(model, other, x=X):
    report = compare_outputs(model, x, other)
    return report.ok, {row.path: (row.status, row.detail) for row in report.rows}


def with_zeros(model):
    model.set_weights([np.zeros(weight.shape) for weight in model.weights])
    return model


def test_what_is_all_zero_or_the_same_for_all_examples_proves_nothing():
    ok, rows = proof(with_zeros(network()), with_zeros(network()))
    assert not ok
    assert rows["stem"] == rows["net"] == ("not known", "all zero")
    model = drawn(network())
    model.get_layer("logits").kernel.assign(np.zeros((16, 5)))
    report = compare_outputs(model, X, with_values_of(network(), model))
    assert not report.ok
    assert report.rows[-2].status == report.rows[-1].status == "not known"
    assert report.rows[-1].detail == "the same for all examples"
    assert report.rows[-3].status == "equal"
    assert report._main_problem == "The outputs of the model are not known to be equal (the same for all examples)."


def test_a_single_example_or_equal_ones_are_compared(source):
    for x in (X[:1], np.repeat(X[:1], 3, axis=0)):
        assert compare_outputs(with_values_of(network(), source), x, source).ok


def test_a_column_that_is_larger_is_found():
    def columns(sizes):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((16,)), layers.Dense(8, "relu"), layers.Dense(2, name="out")])
        kernel = keras.ops.convert_to_numpy(model.layers[-1].kernel)
        model.layers[-1].kernel.assign(kernel * np.array(sizes))
        return model

    x = np.random.default_rng(0).normal(size=(64, 16)).astype("float32")
    assert compare_outputs(columns([1e-3, 1]), x, columns([1e-3, 3])).first.path == "out"
    assert compare_outputs(columns([1e-3, 1]), x, columns([1.01e-3, 1])).first.path == "out"
    assert compare_outputs(columns([1, 1e3]), x, columns([1.01, 1e3])).first.path == "out"


@pytest.mark.every_backend
def test_a_model_without_weights_is_compared():
    model = keras.Sequential([keras.Input((12, 12, 3)), layers.AveragePooling2D(2)])
    assert compare_outputs(model, X, keras.models.clone_model(model)).ok


def test_a_tolerance_may_be_given(source):
    model = with_values_of(network(epsilon=1e-5), source)
    assert not compare_outputs(model, X, source).ok
    assert compare_outputs(model, X, source, tolerance=0.1).ok
    for tolerance, error in ((0, ValueError), (-1.0, ValueError), ("1e-3", TypeError), (float("nan"), ValueError)):
        with pytest.raises(error, match="`tolerance` must be a positive number"):
            compare_outputs(model, X, source, tolerance=tolerance)
