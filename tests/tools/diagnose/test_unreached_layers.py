"""What no gradient can reach is named where it is cut off, whether or not other layers are alike."""

import keras
import numpy as np
import pytest
from diagnosed.networks import Written
from keras import layers, ops
from modes import everywhere, often

import keras_initx

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 20)).astype("float32")
LABELS = RNG.integers(0, 10, 64)
SPARSE = "sparse_categorical_crossentropy"


def relu(units, name):
    return layers.Dense(units, "relu", name=name)


def parts(**others):
    return {"a": relu(20, "a"), "b": relu(20, "b"), "out": layers.Dense(10, "softmax", name="out"), **others}


def stopped_chain(model, x):
    return model.out(model.c(ops.stop_gradient(model.b(model.a(x)))))


def stopped_side(model, x):
    return model.out(ops.concatenate([model.a(x), ops.stop_gradient(model.b(x))], -1))


def chosen_side(model, x):
    return model.out(ops.concatenate([model.a(x), ops.one_hot(ops.argmax(model.b(x), -1), 20)], -1))


def cast_chain(model, x):
    return model.out(ops.cast(ops.cast(model.b(model.a(x)), "int32"), "float32"))


def dropped(model, x):
    model.b(x)
    return model.out(model.a(x))


CUT_OFF = {
    "stopped chain": (
        stopped_chain,
        "warning",
        ("a", "b"),
        "no gradient passes keras.ops.stop_gradient between b and c",
    ),
    "stopped side": (stopped_side, "warning", ("b",), "no gradient passes keras.ops.stop_gradient between b and out"),
    "argmax of a side": (chosen_side, "error", ("b",), "an operation without a derivative between b and out"),
    "cast": (cast_chain, "error", ("a", "b"), "between b and out"),
    "dropped": (dropped, "warning", ("b",), "the loss does not depend on b"),
}


def verdicts(model, x=X, y=LABELS, loss=SPARSE):
    return keras_initx.diagnose(model, x, y, loss=loss).verdicts


@pytest.mark.release_backends
@pytest.mark.parametrize("name", CUT_OFF)
def test_what_is_cut_off_is_named_though_another_layer_has_its_shapes(name):
    call, level, names, evidence = CUT_OFF[name]
    others = {"c": relu(20, "c")} if call is stopped_chain else {}
    (verdict,) = verdicts(Written(call, **parts(**others)))
    assert (verdict.problem, verdict.level, verdict.layers) == ("no gradient", level, names)
    assert evidence in verdict.evidence
    assert not verdict.remedy.rules


class Experts(layers.Layer):
    """Gives what one of three experts gives, in different ways."""

    def __init__(self, choose):
        super().__init__(name="experts")
        self.choose, self.experts = choose, [layers.Dense(20) for _ in range(3)]

    def build(self, shape):
        for expert in self.experts:
            expert.build(shape)

    def call(self, x):
        return self.choose(x, self.experts)


CHOOSING = {
    "selected": lambda x, experts: ops.where(x[:, :1] > -100, experts[0](x), experts[1](x) + experts[2](x)),
    "called": lambda x, experts: experts[1](x),
    "multiplied": lambda x, experts: sum(gate * one(x) for gate, one in zip((0.0, 1.0, 0.0), experts, strict=True)),
}


@pytest.mark.release_backends
@pytest.mark.parametrize("name", CHOOSING)
def test_experts_that_a_batch_does_not_choose_are_a_note(name):
    stack = [Experts(CHOOSING[name]), layers.Dense(10, "softmax")]
    (verdict,) = verdicts(keras.Sequential([keras.Input((20,)), *stack]))
    assert (verdict.problem, verdict.level, len(verdict.layers)) == ("no gradient", "note", 2)


def test_a_target_network_is_no_fault():
    def call(model, x):
        return ops.stack([model.p(model.a(x)), ops.stop_gradient(model.b(x))], axis=1)

    def distance(_, outputs):
        return ops.mean((outputs[:, 0] - outputs[:, 1]) ** 2, axis=-1)

    model = Written(call, a=relu(20, "a"), b=relu(20, "b"), p=layers.Dense(20, name="p"))
    assert verdicts(model, y=np.zeros(64), loss=distance) == []


def test_an_output_with_targets_that_nothing_trains_is_one():
    inputs = keras.Input((20,))
    stopped = ops.stop_gradient(layers.Dense(10, name="stopped")(inputs))
    model = keras.Model(inputs, [layers.Dense(10, name="learns")(inputs), stopped])
    y = X[:, :10]
    (verdict,) = verdicts(model, y=[y, y], loss=["mse", "mse"])
    assert (verdict.problem, verdict.level, verdict.layers) == ("no gradient", "warning", ("stopped",))


RECURRENT = {
    "LSTM": lambda: layers.LSTM(8),
    "GRU": lambda: layers.GRU(8),
    "both directions": lambda: layers.Bidirectional(layers.LSTM(8)),
}


@pytest.mark.parametrize("name", often(RECURRENT, ["LSTM", "both directions"]))
def test_a_dead_layer_behind_a_recurrent_one_of_one_step_is_alone_to_blame(name):
    x = RNG.uniform(size=(64, 1, 5)).astype("float32")
    dead = layers.Dense(1, "relu", bias_initializer=keras.initializers.Constant(-9.0), name="dead")
    model = keras.Sequential([keras.Input((1, 5)), RECURRENT[name](), dead])
    found = verdicts(model, x, x[:, 0, :1], "mse")
    assert [(one.problem, one.layers) for one in found] == [("dead units", ("dead",))]


@pytest.mark.release_backends
@pytest.mark.parametrize("function", [ops.log, lambda x: 1 / x, lambda x: ops.sqrt(x - 9)])
def test_what_makes_infinities_comes_before_the_size_of_inputs(function):
    inputs = keras.Input((20,))
    hidden = relu(32, "hidden")(function(ops.relu(inputs)))
    found = verdicts(keras.Model(inputs, layers.Dense(10, "softmax")(hidden)))
    assert [one.problem for one in found] == ["undefined loss"]


# A kernel of a layer whose other weights learn.


class Own(layers.Layer):
    """Adds what a function of the inputs and of weights gives to what its kernel gives."""

    def __init__(self, function, frozen=(), **shapes):
        super().__init__(name="own")
        self.function, self.frozen, self.shapes = function, frozen, shapes

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 20), name="kernel")
        self.others = {}
        for name, (size, initializer) in self.shapes.items():
            is_trained = name not in self.frozen
            self.others[name] = self.add_weight(size, initializer, name=name, trainable=is_trained)

    def call(self, x):
        return x @ self.kernel + self.function(x, **self.others)


def partly_zero(shape, dtype=None):
    """Give the rows of the first half random numbers, and those of the second half zeros."""
    values = RNG.normal(size=shape)
    values[len(values) // 2 :] = 0
    return ops.convert_to_tensor(values, dtype or "float32")


def learning(function, frozen=(), **shapes):
    stack = [Own(function, frozen, **shapes), layers.Dense(10, "softmax")]
    return keras.Sequential([keras.Input((20,)), *stack])


def attend(x, score, weigh):
    return ops.sum(weigh(ops.softmax(x @ score, axis=0)) * x, axis=0, keepdims=True)


SCORE = {"score": ((20, 1), "glorot_uniform")}
UNREACHED = {
    "stopped": (lambda x, score: attend(x, score, ops.stop_gradient), "warning", "keras.ops.stop_gradient in own"),
    "rounded": (lambda x, score: ops.round(x @ score), "error", "an operation without a derivative in own"),
    "unused": (lambda x, score: 0.5 * x, "warning", "the loss does not depend on own/score"),
}


@pytest.mark.parametrize("name", everywhere(UNREACHED, ["stopped"], others=[pytest.mark.release_backends]))
def test_a_kernel_that_no_step_can_move_is_named_though_its_layer_learns(name):
    function, level, evidence = UNREACHED[name]
    (verdict,) = verdicts(learning(function, **SCORE))
    assert (verdict.problem, verdict.level, verdict.layers) == ("no gradient", level, ("own",))
    assert "own/score" in verdict.evidence
    assert evidence in verdict.evidence
    assert verdicts(learning(function, frozen=["score"], **SCORE)) == []


def branch(x, first, last):
    return ops.relu(x @ first) @ last


FIRST = ((20, 20), "glorot_uniform")
SOON = {
    "smooth": (lambda x, score: attend(x, score, lambda share: share), SCORE),
    "rounded, straight through": (
        lambda x, score: x @ score + ops.stop_gradient(ops.round(x @ score) - x @ score),
        SCORE,
    ),
    "behind a kernel of zeros": (branch, {"first": FIRST, "last": ((20, 20), "zeros")}),
    "behind a part of zeros": (
        lambda x, first, last: ops.concatenate([x, x @ first], -1) @ last,
        {"first": FIRST, "last": ((40, 20), partly_zero)},
    ),
    "behind a factor of 0": (lambda x, first, gain: gain * (x @ first), {"first": FIRST, "gain": ((), "zeros")}),
    "times an offset of 0": (
        lambda x, first, bias: x + bias @ first,
        {"first": FIRST, "bias": ((1, 20), "zeros")},
    ),
}


@pytest.mark.release_backends
@pytest.mark.parametrize("name", SOON)
def test_a_kernel_that_the_first_step_frees_is_no_fault(name):
    function, shapes = SOON[name]
    report = keras_initx.diagnose(learning(function, **shapes), X, LABELS, loss=SPARSE)
    assert report.problems == []
    assert [one.problem for one in report.verdicts if one.problem == "no gradient"] == []


def test_an_offset_that_a_softmax_takes_away_is_no_fault():
    """Both scores get the same number more, so that the shares stay as they are."""

    def function(x, score, key_offset):
        scores = ops.concatenate([x @ score, -x @ score], -1) + ops.sum(key_offset)
        share = ops.softmax(scores, axis=-1)
        return share[:, :1] * x

    assert verdicts(learning(function, **SCORE, key_offset=((2, 3), "ones"))) == []


OTHER = {"first": FIRST, "second": FIRST}


@pytest.mark.release_backends
def test_a_kernel_that_another_batch_may_use_is_a_note():
    def function(x, first, second):
        return ops.where(x[:, :1] > -100, x @ first, x @ second)

    (verdict,) = verdicts(learning(function, **OTHER))
    assert (verdict.problem, verdict.level) == ("no gradient", "note")
    assert "the loss of this batch does not depend on own/second" in verdict.evidence


def test_a_kernel_of_a_target_network_is_no_fault():
    same = ((20, 20), keras.initializers.GlorotUniform(seed=1))

    def function(x, online, target):
        return (x @ online) * ops.stop_gradient(x @ target)

    found = [one.problem for one in verdicts(learning(function, online=same, target=same))]
    assert found == ["twin tensors"]  # a note: both start as copies


def test_rows_of_a_table_that_no_example_takes_are_no_fault():
    table = {"table": ((50, 20), "uniform")}

    def function(x, table):
        return ops.take(table, ops.cast(x[:, 0] > 0, "int32"), axis=0)

    assert verdicts(learning(function, **table)) == []
