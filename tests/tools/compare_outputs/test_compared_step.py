"""The fault of a first step is named, and clean pairs are silent."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from first_steps import CLEAN, FAULTS, MASKED, X, Y, clean, drawn, network
from keras import layers
from modes import often

import keras_initx
from keras_initx import compare_outputs, record_outputs
from keras_initx.tools.compare_outputs._compared_step import compare_steps
from keras_initx.tools.compare_outputs._recorded_step import RecordedStep, RecordedWeight, record_change

WEIGHTS = np.linspace(0.1, 1, 16 * 6).reshape(16, 6)


@pytest.fixture(scope="module")
def recorded():
    """Return what is recorded of the network as it is right, for tests that do not change it."""
    return record_outputs(network(), X, Y)


def compared(here, there, backends):
    others = {weight.path: weight for weight in there.weights}
    return compare_steps(here, there, others.get, None, {}, backends)


def text_of(report):
    return " ".join(str(report).split())


@pytest.mark.parametrize("fault", often(FAULTS, [*FAULTS][::4]))
def test_a_fault_is_named(fault, recorded):
    here, there, text = FAULTS[fault]
    x = MASKED if "mask" in fault else X
    is_plain = there is dict and x is X
    like = recorded if is_plain else record_outputs(network(**there()), x, Y)
    report = compare_outputs(network(**here()), x, like, y=Y)
    assert not report.ok
    assert not report.step.ok
    assert text in text_of(report.step)
    assert text in text_of(report)


@pytest.mark.parametrize(
    ("here", "there", "text"),
    [
        pytest.param("sum", "mean", "96 times that there", marks=pytest.mark.rare),
        ("mean", "sum", "1/96 of that there"),
    ],
)
def test_a_sum_against_a_mean_is_named_in_the_loss_of_both_sides(here, there, text):
    def reduced(reduction):
        return network(loss=keras.losses.MeanSquaredError(reduction=reduction), decay=0)

    report = compare_outputs(reduced(here), X, record_outputs(reduced(there), X, Y), y=Y)
    assert f"{text}, the number of positions in the targets" in report.step.loss.text


def test_equal_steps_are_equal(recorded):
    report = compare_outputs(network(), X, recorded, y=Y)
    assert report.ok
    assert report.step.problems == []
    assert {row.status for row in report.step.rows} == {"equal"}
    assert text_of(report.step) == (
        "dropout was off: 0.1 in drop here and there "
        f"outputs in training: equal loss: equal, {report.step.loss.here:.4g} gradients: equal for 9 weights "
        "updates: equal for 9 weights moving averages and other state: equal for 2 weights "
        "The first step is equal; dropout was off."
    )


def test_the_first_weight_back_from_the_loss_is_named_with_what_is_equal_behind_it(recorded):
    report = compare_outputs(network(share=0.0), X, recorded, y=Y)
    assert report.step.first.path == "norm/gamma"
    assert report.step["norm/gamma"].gradient.norm == 0
    assert [row.path for row in report.step.problems] == ["norm/gamma", "norm/beta", "stem/kernel", "stem/bias"]
    assert "equal after it: head/kernel, head/bias, mid/kernel, mid/bias, gate/scale" in text_of(report.step)
    assert report.step["norm/gamma"].update.detail == "the gradient differs"
    assert report.first is None


@pytest.mark.parametrize("name", often(CLEAN, ["cnn", "several_losses", "adapted"]))
def test_the_same_model_is_silent(name):
    model, x, y = clean(name)
    report = compare_outputs(model, x, record_outputs(clean(name)[0], x, y), y=y)
    assert report.step.ok, str(report)


def test_gradients_that_are_zero_up_to_rounding_are_equal():
    model, x, y = clean("cnn")
    report = compare_outputs(model, x, record_outputs(model, x, y), y=y)
    bias = report.step["conv_1/bias"]
    assert bias.gradient.detail == "0 up to rounding"
    assert bias.update.status == "not compared"


class Block(layers.Layer):
    """A residual block with a layer scale, which starts at 1e-6."""

    def __init__(self, is_stopped):
        super().__init__(name="block")
        self.is_stopped = is_stopped

    def build(self, shape):
        start = keras_initx.GlorotUniform(seed=1)
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]), initializer=start, name="kernel")
        self.layer_scale = self.add_weight(shape=shape[-1:], initializer="ones", name="layer_scale")

    def call(self, x):
        kernel = keras.ops.stop_gradient(self.kernel) if self.is_stopped else self.kernel
        return x + 1e-6 * self.layer_scale * keras.ops.gelu(keras.ops.matmul(x, kernel))


def of_block(is_stopped):
    model = drawn(keras.Sequential([keras.Input((6, 8)), Block(is_stopped), layers.Dense(3, name="head")]))
    model.compile("sgd", "mse")
    return model


@pytest.mark.release_backends
@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_gradient_that_is_zero_on_one_side_differs_however_small_it_is_there(is_stopped):
    report = compare_outputs(of_block(is_stopped), X, of_block(not is_stopped), y=Y)
    assert [row.path for row in report.step.problems] == ["block/kernel"]
    assert ("(0 here, " if is_stopped else ", 0 there)") in text_of(report.step)
    assert compare_outputs(of_block(is_stopped), X, of_block(is_stopped), y=Y).ok


def step_with(size, rounding=0.0):
    change = replace(record_change(np.full(4, size)), rounding=rounding)
    return RecordedStep(loss=1.0, weights=[RecordedWeight("layer/bias", "trained", (4,), "float32", change, change)])


@pytest.mark.parametrize(
    ("here", "there", "answer"),
    [
        (step_with(0.0), step_with(1e-9, rounding=1e-9), "equal"),
        (step_with(1e-9, rounding=1e-9), step_with(0.0), "equal"),
        (step_with(0.0), step_with(1e-8, rounding=1e-9), "differs"),
        (step_with(1e-9), step_with(0.0), "differs"),
    ],
)
def test_a_gradient_is_rounding_up_to_what_either_side_has_measured(here, there, answer):
    (row,) = compared(here, there, {"torch"}).rows
    assert row.gradient.status == answer


def test_steps_of_few_units_in_the_last_place_of_a_weight_are_equal():
    start = keras.initializers.RandomUniform(1.2, 1.8, seed=0)
    model = keras.Sequential([keras.Input((64,)), layers.Dense(16, kernel_initializer=start, name="head")])
    model.compile(keras.optimizers.SGD(3e-5), "mse")
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(32, 64)), draws.normal(size=(32, 16))
    report = compare_outputs(model, x, record_outputs(model, x, 1.0005 * y), y=y)
    kernel = report.step["head/kernel"]
    assert kernel.gradient.status == "equal"
    assert kernel.update.status == "equal"


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
    assert report.step["head/kernel"].gradient.detail == "no counterpart"
    assert report.step.unmatched == ["head/kernel", "head/bias"]


def test_without_a_known_rounding_nothing_is_said_of_updates_that_are_lost_in_it():
    def build(rate):
        return network(optimizer=keras.optimizers.SGD(rate))

    report = compare_outputs(build(1e-12), X, build(1e-12), y=Y)
    assert report.ok
    assert {row.update.detail for row in report.step.rows if row.kind == "trained"} <= {
        "less than rounding",
        "the first step makes no update",
    }
    assert "of 9 weights not all was compared" in report.step.summary


def test_a_loss_that_is_not_finite_is_not_compared():
    def build():
        return network(loss=lambda y, p: keras.ops.log(keras.ops.mean(y - p) * 0.0 - 1.0))

    report = compare_outputs(build(), X, build(), y=Y)
    assert not report.ok
    assert (report.step.loss.status, report.step.loss.detail) == ("not compared", "not finite")


def test_headline_json_and_figure_show_what_differs(recorded):
    report = compare_outputs(network(share=0.0), X, recorded, y=Y)
    assert report._main_problem == "The first step differs; dropout was off."
    assert json.loads(report.to_json())["step"]["obstacle"] == ""
    gradients, updates = report.step.plot().axes
    assert (gradients.get_ylabel(), updates.get_ylabel()) == ("difference of the gradient", "difference of the update")
    for axis, name in ((gradients, "gradient"), (updates, "update")):
        shown = {line.get_label(): [*line.get_ydata()] for line in axis.lines}
        changes = [getattr(row, name) for row in report.step.rows]
        differing = [change.difference for change in changes if change is not None and change.status == "differs"]
        assert shown.get("differs", []) == differing
        assert len(shown["rounding"]) > len(differing)
    assert "differs" in [line.get_label() for line in gradients.lines]


def test_sixteen_bits_are_not_compared():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        report = compare_outputs(network(), X, network(), y=Y)
    finally:
        keras.config.set_dtype_policy(policy)
    assert not report.ok
    assert report.step.loss.status == "equal"
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
    assert "equal after it: mid/kernel, mid/bias" in text_of(report.step)
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
    assert {row.gradient.status for row in trained} == {"equal"}
    assert {row.update.status for row in trained} == {"differs"}
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
    assert {row.update.detail for row in report.step.rows if row.kind == "trained"} == {
        "the first step makes no update"
    }
    report = compare_outputs(network(optimizer=keras.optimizers.Adam(1e-3)), X, recorded, y=Y)
    assert "updates: 9 of 9 weights differ" in text_of(report.step)


def test_sums_over_a_large_batch_are_rounded_more_on_tensorflow():
    weights = [RecordedWeight("norm/gamma", "trained", (4,), "float32", *[record_change(np.ones(4))] * 2)]
    here = RecordedStep(loss=1.0, summed=2**16, weights=weights)
    changed = RecordedWeight("norm/gamma", "trained", (4,), "float32", *[record_change(np.full(4, 1.0005))] * 2)
    there = replace(here, loss=1.0005, weights=[changed])
    of_torch = compared(here, there, ("jax", "torch"))
    assert [row.path for row in of_torch.problems] == ["loss", "norm/gamma"]
    assert compared(here, there, ("jax", "tensorflow")).ok


def mixed():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        parts = [layers.Dense(16, "gelu", name="hidden"), layers.Dropout(0.5, name="drop")]
        head = layers.Dense(3, dtype="float32", name="head")
        model = drawn(keras.Sequential([keras.Input((6, 8)), *parts, head]))
    finally:
        keras.config.set_dtype_policy(policy)
    model.compile("sgd", "mse")
    return model


@pytest.mark.release_backends
def test_outputs_in_training_have_the_tolerance_of_all_that_they_depend_on():
    in_16_bits = record_outputs(mixed(), X, Y)
    (output,) = in_16_bits.step.outputs.values()
    output.own_values[:] *= 1.01  # as another backend rounds 16 bits
    report = compare_outputs(mixed(), X, in_16_bits, y=Y)
    assert report.step.outputs[""].status == "equal"
    assert report.step.outputs[""].rounding == 0.1
    output.own_values[:] *= 1.5
    assert compare_outputs(mixed(), X, in_16_bits, y=Y).step.outputs[""].status == "differs"
    changed = record_outputs(network(), X, Y)
    (output,) = changed.step.outputs.values()
    output.own_values[:] *= 1.01
    assert compare_outputs(network(), X, changed, y=Y).step.outputs[""].status == "differs"


@pytest.mark.parametrize(
    ("here", "there", "text"),
    [
        ((X, Y[::-1].copy()), (X, Y), "targets: other values"),
        ((X, Y[..., :1]), (X, Y), "targets: the shape is (16, 6, 1) here, (16, 6, 3) there"),
        ((X, Y, WEIGHTS), (X, Y), "weights of the samples: 1 here, none there"),
        pytest.param((X, Y), (X, Y, WEIGHTS), "weights of the samples: none here, 1 there", marks=pytest.mark.rare),
    ],
    ids=["values", "a shape", "weights", "no weights"],
)
def test_targets_that_differ_are_the_first_cause(here, there, text):
    report = compare_outputs(network(), here, record_outputs(network(), there))
    first, *_ = report.step.problems
    assert first.text == text
    assert text_of(report.step).index(text) < text_of(report.step).index("outputs in training")
    assert report.step.summary.startswith(f"The first step differs, with {text}")


def test_the_same_targets_in_another_dtype_are_the_same():
    whole = np.round(Y)
    recorded = record_outputs(network(), X, whole)
    for targets in (whole.astype("int32"), whole.astype("float64")):
        assert not compare_outputs(network(), X, recorded, y=targets).step.inputs
    recorded = record_outputs(network(), (X, Y, np.ones((16, 6))))
    assert compare_outputs(network(), (X, Y, np.ones((16, 6), "int64")), recorded).step.ok


def test_targets_that_were_forgotten_are_told_of(recorded):
    report = compare_outputs(network(optimizer=keras.optimizers.SGD(7.0)), X, recorded)
    text = "The first step of `like` was not compared: `y` is missing."
    assert report.ok
    assert text in report.summary
    assert text in text_of(report)
    assert "was not compared" not in compare_outputs(network(), X, record_outputs(network(), X)).summary


class Sparsity(layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(keras.ops.abs(x)))
        return x


def sparse(rate, *parts):
    model = drawn(keras.Sequential([keras.Input((6, 8)), layers.Dense(3, name="head"), *parts]))
    model.compile(keras.optimizers.SGD(rate), None)
    return model


@pytest.mark.every_backend
def test_a_model_that_trains_by_add_loss_alone_needs_no_targets(tmp_path):
    recorded = record_outputs(sparse(0.01, Sparsity()), X)
    recorded.save(tmp_path / "step.npz")
    assert recorded.step.loss > 0
    assert compare_outputs(sparse(0.01, Sparsity()), X, tmp_path / "step.npz").step.ok
    report = compare_outputs(sparse(7.0, Sparsity()), X, tmp_path / "step.npz")
    assert "updates: 2 of 2 weights differ" in text_of(report.step)
    assert record_outputs(sparse(0.01), X).step is None


@pytest.mark.parametrize("factor", often([0.5, 2.0], [2.0]))
def test_a_gradient_may_differ_by_its_norm_alone_which_is_no_factor(factor):
    """Of a large weight, the norm has more than the values that are kept."""
    changed, weights = record_outputs(network(), X, Y), []
    for weight in changed.step.weights:
        if weight.gradient is not None:
            weight = replace(weight, gradient=replace(weight.gradient, norm=factor * weight.gradient.norm))
        weights.append(weight)
    changed.step = replace(changed.step, weights=weights)
    report = compare_outputs(network(), X, changed, y=Y)
    assert {row.gradient.status for row in report.step.rows if row.kind == "trained"} == {"differs"}
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
    assert report.step["hidden/kernel"].gradient.detail == "computed in float32 here, in float64 there"
    assert "of 2 weights not all was compared" in text_of(report.step)


def test_a_given_tolerance_is_that_of_the_loss_too():
    def weighted(weight):
        return network(loss_weights=weight, decay=0)

    recorded = record_outputs(weighted(1.0), X, Y)
    assert compare_outputs(weighted(1.02), X, recorded, y=Y).step.loss.status == "differs"
    assert compare_outputs(weighted(1.02), X, recorded, y=Y, tolerance=0.05).step.loss.status == "equal"


def test_a_weight_that_is_trained_on_one_side_alone_has_the_name_of_its_counterpart():
    here, there = step_with(1.0), step_with(1.0)
    there = replace(there, weights=[replace(there.weights[0], path="other/bias", kind="frozen")])
    (row,) = compare_steps(here, there, lambda path: there.weights[0], None, {}, {"torch"}).rows
    assert (row.gradient.detail, row.like) == ("trained here only", "other/bias")


@pytest.mark.parametrize("is_here", [True, False])
def test_gradients_that_one_side_lacks_are_not_compared(is_here):
    whole = step_with(1.0)
    weight = replace(whole.weights[0], gradient=None, update=None)
    without = replace(whole, weights=[weight], without_gradients="computed in float16", without_updates="none")
    (row,) = compared(*((without, whole) if is_here else (whole, without)), {"torch"}).rows
    assert (row.gradient.status, row.gradient.detail) == ("not compared", "computed in float16")
    assert row.update.detail == "none"


def state_with(size, rounding, kind="state"):
    change = replace(record_change(np.full(4, size)), rounding=rounding)
    weight = RecordedWeight("norm/moving_mean", kind, (4,), "float32", None, None if kind == "frozen" else change)
    return RecordedStep(loss=1.0, weights=[weight])


def test_a_state_that_is_frozen_on_one_side_is_not_compared():
    (row,) = compared(state_with(1.0, 0.0), state_with(1.0, 0.0, "frozen"), {"torch"}).rows
    assert (row.update.status, row.update.detail) == ("not compared", "no update is known")


def test_changes_of_a_state_that_are_rounding_are_not_compared():
    assert compared(state_with(1.0, 1e-3), state_with(1.0, 1e-3), {"torch"}).rows[0].status == "equal"
    report = compared(state_with(1.0, 1.0), state_with(1.0, 1.0), {"torch"})
    assert report.rows[0].status == "not compared"
    assert "not compared, update (less than rounding): norm/moving_mean" in text_of(report)


def test_the_norm_of_an_array_of_which_a_part_is_known_is_estimated():
    """Of 16 values, 4 are kept on both sides."""
    kept = record_change(np.full(4, 0.5))
    weights = [RecordedWeight("layer/kernel", "trained", (4, 4), "float32", kept, kept)]
    here = RecordedStep(loss=1.0, weights=weights)
    part = replace(record_change(np.full(4, 0.25)), norm=float("nan"))
    there = replace(here, weights=[replace(weights[0], gradient=part, update=part)])
    (row,) = compared(here, there, {"torch"}).rows
    assert (row.gradient.norm, row.gradient.norm_there) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("here", "there", "text"),
    [
        (-1.0, -1.0 - 1e-7, ""),
        (-1.0, -1.1, "of it -1 here, -1.1 there"),
        (1.0, -1.0, "of it 1 here, -1 there"),
        (0.0, 0.0, ""),
        (0.0, 1e-3, "of it 0 here, 0.001 there"),
        (float("inf"), 0.1, "of it inf here, 0.1 there"),
    ],
)
def test_what_regularizers_add_is_told_of_if_it_differs(here, there, text):
    report = compared(RecordedStep(loss=1.0, added=here), RecordedStep(loss=1.5, added=there), {"torch"})
    assert report.loss.status == "differs"
    assert text in report.loss.detail
    assert ("of it" in report.loss.detail) == bool(text)


@pytest.mark.parametrize(("values", "ratio"), [((2, 4, 6, 8), 2.0), ((1, 2, 3, 8), None), ((2, 4, 6, 8.1), None)])
def test_a_factor_is_that_of_all_values(values, ratio):
    def step(values):
        change = record_change(np.array(values, "float32"))
        return RecordedStep(loss=1.0, weights=[RecordedWeight("a/bias", "trained", (4,), "float32", change, change)])

    report = compared(step(values), step((1, 2, 3, 4)), {"torch"})
    assert report.rows[0].gradient.status == "differs"
    assert report.rows[0].gradient.ratio == (None if ratio is None else pytest.approx(ratio))
    assert ("all are 2 times those there" in text_of(report)) == bool(ratio)
    assert "not compared, update (the gradient differs): a/bias" in text_of(report)


def test_outputs_in_float64_have_their_own_tolerance_in_training():
    model = keras.Sequential([keras.Input((8,), dtype="float64"), layers.Dense(3, dtype="float64", name="head")])
    drawn(model).compile("sgd", "mse")
    recorded = record_outputs(model, X[:, 0], Y[:, 0])
    assert compare_outputs(model, X[:, 0], recorded, y=Y[:, 0]).step.outputs[""].status == "equal"
    (output,) = recorded.step.outputs.values()
    assert output.dtype == "float64"
    output.own_values[:] *= 1 + 1e-6
    assert compare_outputs(model, X[:, 0], recorded, y=Y[:, 0]).step.outputs[""].status == "differs"


@pytest.mark.parametrize(("here", "there", "text"), [(2.0, 1.0, "2 times that there"), (1.0, 2.0, "1/2 of that there")])
def test_a_sum_against_a_mean_is_named_in_a_batch_of_two(here, there, text):
    counts = {2: "examples"}
    report = compared(RecordedStep(loss=here, counts=counts), RecordedStep(loss=there, counts=counts), {"torch"})
    assert report.loss.detail == f"{text}, the number of examples: a sum against a mean"


def test_a_weight_of_another_shape_is_shown_with_its_counterpart():
    here = step_with(1.0)
    there = replace(here, weights=[replace(here.weights[0], path="other/bias", shape=(5,))])
    (row,) = compare_steps(here, there, lambda path: there.weights[0], None, {}, {"torch"}).rows
    assert row.like == "other/bias"
    for change in (row.gradient, row.update):
        assert (change.status, change.detail) == ("not compared", "other shape: (4,) here, (5,) there")


class Magnified(layers.Layer):
    """Adds 10,000 times the rounding of its weight to the loss, without a sum, so equally on each processor."""

    def build(self, shape):
        self.one = self.add_weight(shape=(), initializer="ones", name="one")

    def call(self, x):
        self.add_loss(1e4 * (self.one - 1))
        return x


def small_network():
    model = drawn(keras.Sequential([keras.Input((6, 8)), layers.Dense(3, name="head"), Magnified(name="magnified")]))
    model.layers[-1].one.assign(1.0)
    model.compile("sgd", "mse")
    return model


def test_a_loss_that_magnifies_rounding_is_compared_up_to_what_was_measured():
    here, there = small_network(), small_network()
    here.layers[-1].one.assign(1 + np.finfo("float32").eps)
    loss = compare_outputs(here, X, record_outputs(there, X, Y), y=Y).step.loss
    assert loss.status == "equal"
    assert abs(loss.here - loss.there) > 1e-4 * loss.there


def test_a_difference_of_the_loss_that_is_no_rounding_differs():
    here, there = network(), network()
    there.layers[-1].kernel.assign(there.layers[-1].kernel * 1.001)
    loss = compare_outputs(here, X, record_outputs(there, X, Y), y=Y).step.loss
    assert loss.status == "differs"
    assert abs(loss.here - loss.there) > 1e-4 * loss.there
