"""The fault of a first step is named, and clean pairs are silent."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from first_steps import CLEAN, FAULTS, MASKED, X, Y, clean, drawn, network
from keras import layers
from modes import often

from keras_initx import compare_outputs, record_outputs
from keras_initx.tools.compare_outputs._compared_step import compared_step
from keras_initx.tools.compare_outputs._recorded_step import RecordedStep, RecordedWeight, recorded_change


def text_of(report):
    return " ".join(str(report).split())


@pytest.mark.parametrize("fault", often(FAULTS, [*FAULTS][::4]))
def test_a_fault_is_named(fault):
    here, there, text = FAULTS[fault]
    x = MASKED if "mask" in fault else X
    report = compare_outputs(network(**here()), x, record_outputs(network(**there()), x, Y), y=Y)
    assert not report.ok
    assert not report.step.ok
    assert text in text_of(report.step)
    assert text in text_of(report)


@pytest.mark.parametrize(
    ("here", "there", "text"), [("sum", "mean", "96 times that there"), ("mean", "sum", "1/96 of that there")]
)
def test_a_sum_against_a_mean_is_named_in_the_loss_of_both_sides(here, there, text):
    def reduced(reduction):
        return network(loss=keras.losses.MeanSquaredError(reduction=reduction), decay=0)

    report = compare_outputs(reduced(here), X, record_outputs(reduced(there), X, Y), y=Y)
    assert f"{text}, the number of positions in the targets" in report.step.loss.text


def test_equal_steps_are_equal():
    report = compare_outputs(network(), X, record_outputs(network(), X, Y), y=Y)
    assert report.ok
    assert report.step.problems == []
    assert {row.answer for row in report.step.rows} == {"equal"}
    assert text_of(report.step) == (
        f"outputs in training: equal loss: equal, {report.step.loss.here:.4g} gradients: equal for 9 weights "
        "updates: equal for 9 weights moving averages and other state: equal for 2 weights The first step is equal."
    )


def test_the_first_weight_back_from_the_loss_is_named_with_what_is_equal_behind_it():
    recorded = record_outputs(network(), X, Y)
    report = compare_outputs(network(share=0.0), X, recorded, y=Y)
    assert report.step.first.path == "norm/gamma"
    assert report.step["norm/gamma"].gradient.norm == 0
    assert [row.path for row in report.step.problems] == ["norm/gamma", "norm/beta", "stem/kernel", "stem/bias"]
    assert "equal behind it: head/kernel, head/bias, mid/kernel, mid/bias, gate/scale" in text_of(report.step)
    assert report.step["norm/gamma"].update.how == "the gradient differs"
    assert report.first is None


@pytest.mark.parametrize("name", often(CLEAN, ["cnn", "transformer", "several_losses", "adapted"]))
def test_the_same_model_is_silent(name):
    model, x, y = clean(name)
    report = compare_outputs(model, x, record_outputs(clean(name)[0], x, y), y=y)
    assert report.step.ok, str(report)


def test_gradients_that_are_zero_up_to_rounding_are_equal():
    model, x, y = clean("cnn")
    report = compare_outputs(model, x, record_outputs(model, x, y), y=y)
    bias = report.step["conv_1/bias"]
    assert bias.gradient.how == "0 up to rounding"
    assert bias.update.answer == "not compared"


def step_with(**sizes):
    weights = []
    for name, size in sizes.items():
        change = recorded_change(np.full(4, size))
        weights.append(RecordedWeight(f"layer/{name}", "trained", (4,), "float32", change, change))
    return RecordedStep(loss=1.0, weights=weights)


def test_a_gradient_is_rounding_up_to_a_share_of_the_largest_in_its_layer():
    step = step_with(kernel=1.0, bias=7e-5, scale=1.5e-4)
    report = compared_step(step, [step, step], step, lambda path: path, None, {"torch"})
    assert [row.gradient.how for row in report.rows] == ["", "0 up to rounding", ""]
    other = step_with(kernel=1.0, bias=2e-5, scale=3e-4)
    report = compared_step(step, [step, step], other, lambda path: path, None, {"torch"})
    assert [row.gradient.answer for row in report.rows] == ["equal", "equal", "differs"]


def test_steps_of_few_units_in_the_last_place_of_a_weight_are_equal():
    start = keras.initializers.RandomUniform(1.2, 1.8, seed=0)
    model = keras.Sequential([keras.Input((64,)), layers.Dense(16, kernel_initializer=start, name="head")])
    model.compile(keras.optimizers.SGD(3e-5), "mse")
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(32, 64)), draws.normal(size=(32, 16))
    report = compare_outputs(model, x, record_outputs(model, x, 1.0005 * y), y=y)
    kernel = report.step["head/kernel"]
    assert kernel.gradient.answer == "equal"
    assert kernel.update.answer == "equal"


def test_another_compiled_model_is_recorded():
    report = compare_outputs(network(share=0.5), X, network(), y=Y)
    assert report.step.first.path == "norm/gamma"
    assert round(report.step.first.gradient.ratio, 4) == 0.5


def test_weights_are_compared_by_names():
    def build(prefix):
        parts = [layers.Dense(4, "relu", name=f"{prefix}_{number}") for number in range(2)]
        model = keras.Sequential([keras.Input((3,)), *parts, layers.Dense(1, name="head")])
        model.compile("sgd", "mse")
        return model

    x, y = X[:, 0, :3], Y[:, 0, :1]
    model, other = build("here"), build("there")
    other.set_weights(model.get_weights())
    report = compare_outputs(model, x, other, y=y, names={"here_*": "there_{0}", "head": "head"})
    assert report.step.ok
    assert report.step["here_1/kernel"].like == "there_1/kernel"
    report = compare_outputs(model, x, other, y=y, names={"here_*": "there_{0}"})
    assert report.step["head/kernel"].gradient.how == "no counterpart"
    assert report.step.unmatched == ["head/kernel", "head/bias"]


def test_without_a_known_rounding_nothing_is_said_of_updates_that_are_lost_in_it():
    def build(rate):
        return network(optimizer=keras.optimizers.SGD(rate))

    report = compare_outputs(build(1e-12), X, build(1e-12), y=Y)
    assert report.ok
    assert {row.update.how for row in report.step.rows if row.kind == "trained"} <= {
        "less than rounding",
        "the first step makes no update",
    }
    assert "of 9 weights not all was compared" in report.step.summary


def test_a_loss_that_is_not_finite_is_not_compared():
    def build():
        return network(loss=lambda y, p: keras.ops.log(keras.ops.mean(y - p) * 0.0 - 1.0))

    report = compare_outputs(build(), X, build(), y=Y)
    assert not report.ok
    assert report.step.loss.answer == "not compared"


def test_the_report_is_a_result(tmp_path):
    report = compare_outputs(network(share=0.0), X, record_outputs(network(), X, Y), y=Y)
    step = report.step
    assert len(step.to_pandas()) == 11
    assert '"obstacle": ""' in report.to_json()
    assert "norm/gamma" in step.to_html(tmp_path / "step.html")
    assert step.plot().axes
    assert report.headline == "The first step differs."
    with pytest.raises(TypeError, match=r"use `\.ok`"):
        bool(step)


def test_sixteen_bits_are_not_compared():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        report = compare_outputs(network(), X, network(), y=Y)
    finally:
        keras.config.set_dtype_policy(policy)
    assert not report.ok
    assert report.step.loss.answer == "equal"
    assert "gradient and update (computed in float16: compare in float32)" in text_of(report.step)
    assert np.isfinite(report.step.loss.here)


class Tied(keras.Model):
    """Its logits are products with the table of its words, through which the gradient may be stopped."""

    def __init__(self, is_stopped):
        super().__init__(name="net")
        self.is_stopped = is_stopped
        self.tokens = layers.Embedding(30, 16, name="tokens")
        self.mid = layers.Dense(16, "gelu", name="mid")

    def call(self, words):
        x = self.mid(self.tokens(words))
        table = self.tokens.embeddings
        return keras.ops.matmul(x, keras.ops.transpose(keras.ops.stop_gradient(table) if self.is_stopped else table))


def test_a_gradient_that_one_of_two_uses_of_a_table_lacks_is_found():
    words = np.random.default_rng(0).integers(0, 30, (8, 6))
    models = []
    for is_stopped in (False, True):
        model = Tied(is_stopped)
        model(words)
        drawn(model)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        models.append(model)
    report = compare_outputs(models[1], words, models[0], y=words)
    assert [row.path for row in report.step.problems] == ["tokens/embeddings"]
    assert "equal behind it: mid/kernel, mid/bias" in text_of(report.step)
    assert compare_outputs(models[1], words, models[1], y=words).ok


class WithoutCorrection(keras.optimizers.Adam):
    """Adam without its correction of the first steps."""

    def update_step(self, gradient, variable, learning_rate):
        place = self._get_variable_index(variable)
        momentum, velocity = self._momentums[place], self._velocities[place]
        self.assign(momentum, self.beta_1 * momentum + (1 - self.beta_1) * gradient)
        self.assign(velocity, self.beta_2 * velocity + (1 - self.beta_2) * gradient * gradient)
        self.assign_sub(variable, learning_rate * momentum / (keras.ops.sqrt(velocity) + self.epsilon))


def test_a_missing_correction_of_the_first_steps_is_in_the_updates():
    there = record_outputs(network(optimizer=keras.optimizers.Adam(1e-3)), X, Y)
    report = compare_outputs(network(optimizer=WithoutCorrection(1e-3)), X, there, y=Y)
    trained = [row for row in report.step.rows if row.kind == "trained"]
    assert {row.gradient.answer for row in trained} == {"equal"}
    assert {row.update.answer for row in trained} == {"differs"}
    assert report.step.settings == ["optimizer: WithoutCorrection here, Adam there"]


def test_a_small_factor_of_the_loss_is_shown_with_its_digits():
    def scaled(y_true, y_pred):
        return 1.0005 * keras.ops.mean(keras.ops.square(y_true - y_pred))

    there = record_outputs(network(decay=0), X, Y)
    report = compare_outputs(network(decay=0, loss=scaled), X, there, y=Y)
    assert "1.0005 times that there" in report.step.loss.text
    assert "gradients: all are 1.0005 times those there" in text_of(report.step)


def test_a_first_step_without_a_rate_is_not_compared_with_itself():
    def warm():
        rate = keras.optimizers.schedules.CosineDecay(0.0, 10, warmup_target=1e-3, warmup_steps=5)
        return network(optimizer=keras.optimizers.Adam(rate))

    recorded = record_outputs(warm(), X, Y)
    report = compare_outputs(warm(), X, recorded, y=Y)
    assert report.ok
    assert {row.update.how for row in report.step.rows if row.kind == "trained"} == {"the first step makes no update"}
    report = compare_outputs(network(optimizer=keras.optimizers.Adam(1e-3)), X, recorded, y=Y)
    assert "updates: 9 of 9 weights differ" in text_of(report.step)


def test_sums_over_a_large_batch_are_rounded_more_on_tensorflow():
    weights = [RecordedWeight("norm/gamma", "trained", (4,), "float32", *[recorded_change(np.ones(4))] * 2)]
    here = RecordedStep(loss=1.0, summed=2**16, weights=weights)
    changed = RecordedWeight("norm/gamma", "trained", (4,), "float32", *[recorded_change(np.full(4, 1.0005))] * 2)
    there = replace(here, loss=1.0005, weights=[changed])
    runs = [here] * 3
    of_torch = compared_step(here, runs, there, str, None, ("jax", "torch"))
    assert [row.path for row in of_torch.problems] == ["loss", "norm/gamma"]
    assert compared_step(here, runs, there, str, None, ("jax", "tensorflow")).ok


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_gradient_may_differ_by_its_norm_alone_which_is_no_factor(factor):
    """Of a large weight, the norm has more than the values that are kept."""
    recorded = record_outputs(network(), X, Y)
    weights = []
    for weight in recorded.step.weights:
        if weight.gradient is not None:
            weight = replace(weight, gradient=replace(weight.gradient, norm=factor * weight.gradient.norm))
        weights.append(weight)
    recorded.step = replace(recorded.step, weights=weights)
    report = compare_outputs(network(), X, recorded, y=Y)
    assert {row.gradient.answer for row in report.step.rows if row.kind == "trained"} == {"differs"}
    assert {row.gradient.ratio for row in report.step.rows if row.kind == "trained"} == {None}
    assert "times those" not in text_of(report.step)
    assert "gradients: 9 of 9 weights differ" in text_of(report.step)


def test_float64_beside_float32_is_not_compared():
    def made(dtype):
        parts = [layers.Dense(4, dtype=dtype, name="hidden"), layers.Dense(3, name="head")]
        model = keras.Sequential([keras.Input((8,)), *parts])
        drawn(model).compile("sgd", "mse")
        return model

    x, y = X[:, 0], Y[:, 0]
    report = compare_outputs(made("float32"), x, record_outputs(made("float64"), x, y), y=y)
    assert report.step["hidden/kernel"].gradient.how == "computed in float32 here, in float64 there"
    assert "of 2 weights not all was compared" in text_of(report.step)


def test_a_given_tolerance_is_that_of_the_loss_too():
    def weighted(weight):
        return network(loss_weights=weight, decay=0)

    recorded = record_outputs(weighted(1.0), X, Y)
    assert compare_outputs(weighted(1.02), X, recorded, y=Y).step.loss.answer == "differs"
    assert compare_outputs(weighted(1.02), X, recorded, y=Y, tolerance=0.05).step.loss.answer == "equal"
