"""Initializers of users: functions, objects without a config or with a part of one, subclasses of this package's."""

import functools
import re

import keras
import numpy as np
import pytest
from modes import everywhere, to_numpy

import keras_initx
from keras_initx import initialize
from keras_initx.initializers._seeds import derived_seed
from keras_initx.sampling._stream import Draw
from keras_initx.types import InitializationPlan

layers = keras.layers


def fill(shape, dtype=None, value=2.0):
    return keras.ops.full(shape, value, dtype or "float32")


class Fill(keras.initializers.Initializer):
    """Has no config."""

    def __init__(self, value=1.0):
        self.value = value

    def __call__(self, shape, dtype=None):
        return fill(shape, dtype, self.value)


class Partial(Fill):
    """Has a config without one of its arguments."""

    def __init__(self, value=1.0, factor=1.0):
        super().__init__(value * factor)

    def get_config(self):
        return {"value": self.value}


class Picky(Fill):
    """Refuses its own config."""

    def __init__(self, value=None, **others):
        if others:
            raise RuntimeError
        super().__init__(value)

    def get_config(self):
        return {"value": self.value, "other": 1}


class Times(keras.initializers.VarianceScaling):
    """A subclass of Keras' without a config of its own."""

    def __init__(self, factor, seed=None):
        super().__init__(seed=seed)
        self.factor = factor

    def __call__(self, shape, dtype=None):
        return self.factor * keras.ops.sign(super().__call__(shape, dtype))


def dense(initializer):
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, kernel_initializer=initializer)])


def kernel(model):
    return to_numpy(model.layers[0].kernel).copy()


class Signs(keras_initx.initializers.RandomInitializer):
    """Has an argument with a name that a method of its base class might have."""

    def __init__(self, bound=2.0, *, seed=None):
        super().__init__(seed=seed)
        self.bound = bound

    def draw(self, stream, shape, dtype):
        is_negative = stream.uniform(Draw.VALUES, shape, dtype) < 0.5
        return stream.xp.where(is_negative, -self.bound, self.bound)


USERS = {
    "function": fill,
    "partial": functools.partial(fill, value=2.0),
    "no config": Fill(2.0),
    "part of a config": Partial(1.0, 2.0),
    "refused config": Picky(2.0),
    "subclass": Times(2.0, seed=1),
    "nested": keras_initx.Scaled(Fill(4.0), 0.5),
}


@pytest.mark.parametrize("name", everywhere(USERS, ["partial"]))
def test_a_users_initializer_is_called_itself(name):
    model = dense(USERS[name])
    model.layers[0].kernel.assign(np.zeros((4, 3)))
    weight = initialize(model, seed=0).rows[0]
    np.testing.assert_array_equal(abs(kernel(model)), np.full((4, 3), 2.0))
    assert "0x" not in weight.initializer
    assert weight.seed is None


# Rules take no functions and no seeds.
@pytest.mark.parametrize("name", ["part of a config", "nested"])
def test_a_users_initializer_is_called_itself_in_a_rule(name):
    model = dense("zeros")
    initialize(model, {"*/kernel": USERS[name]}, seed=0)
    np.testing.assert_array_equal(kernel(model), np.full((4, 3), 2.0))


@keras.saving.register_keras_serializable(package="users")
class Registered(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return fill(shape, dtype)


@pytest.mark.parametrize("nested", [False, True])
def test_a_rule_and_a_plan_find_a_users_class_by_its_registered_name(nested, tmp_path):
    text = "users>Registered"
    rules = {"*/kernel": keras_initx.Scaled(text, 1) if nested else text}
    model = dense("zeros")
    initialize(model, rules, seed=0, dry_run=True).save(tmp_path / "plan.json")
    initialize(model, tmp_path / "plan.json")
    np.testing.assert_array_equal(kernel(model), np.full((4, 3), 2.0))


def test_a_rule_finds_a_users_class_by_a_name_in_a_scope():
    model = dense("zeros")
    with keras.saving.custom_object_scope({"mine": Registered}):
        initialize(model, {"*/kernel": "mine"}, seed=0)
    np.testing.assert_array_equal(kernel(model), np.full((4, 3), 2.0))


REMEDY = "Remedy: let `get_config` return all arguments, and `from_config` take them."
REFUSED = f"{{}} gets no seed for dense/kernel: its class refuses its config, by {{}}. {REMEDY}"
LACKING = f"{{}} gets no seed for dense/kernel: its config lacks {{}}. {REMEDY}"
SAID = {
    "no config": LACKING.format("Fill", "'value'"),
    "part of a config": LACKING.format("Partial", "'factor'"),
    "refused config": REFUSED.format("Picky", "RuntimeError"),
    "subclass": LACKING.format("Times", "'factor'"),
    "nested": LACKING.format("Fill", "'value'"),
}


@pytest.mark.parametrize("name", USERS)
def test_the_plan_says_whose_class_is_called_itself_and_why_but_not_of_functions(tmp_path, name):
    expected = (SAID[name],) if name in SAID else ()
    dry = initialize(dense(USERS[name]), seed=0, dry_run=True)
    assert dry.notes == initialize(dense(USERS[name]), seed=0).notes == expected
    assert all(note in " ".join(str(dry).split()) for note in expected)
    dry.save(tmp_path / "plan.json")
    assert InitializationPlan.load(tmp_path / "plan.json").left[0].detail  # which is in its line
    assert initialize(dense("zeros"), dry).notes == expected


class Loud(Picky):
    """Refuses its config in many words."""

    @classmethod
    def from_config(cls, config):
        raise ValueError("It is\nnot " + "very " * 99 + "good.")


def test_an_error_of_a_users_class_is_told_in_a_line():
    (note,) = initialize(dense(keras_initx.Scaled(Loud(2.0), 2)), seed=0, dry_run=True).notes
    reason = note.removesuffix(f" {REMEDY}")
    assert note.endswith(REMEDY)
    assert reason.startswith(REFUSED.format("Loud", "ValueError: It is not very very").removesuffix(f". {REMEDY}"))
    assert reason.endswith("....")
    assert len(reason) < 200


def test_weights_with_one_reason_have_one_note():
    stack = [layers.Dense(4, kernel_initializer=Fill(2.0), bias_initializer=Seeded(2.0, 5)) for _ in range(9)]
    model = keras.Sequential([keras.Input((4,)), *stack, layers.Dense(4, kernel_initializer=Partial())])
    first, second = initialize(model, seed=0, dry_run=True).notes
    paths = "dense/kernel, dense_1/kernel, dense_2/kernel, dense_3/kernel and 5 more"
    assert first == f"Fill gets no seed for {paths}: its config lacks 'value'. {REMEDY}"
    assert second.startswith("Partial gets no seed for dense_9/kernel: ")


def test_where_all_are_copied_nothing_is_said():
    stack = [layers.Dense(4, kernel_initializer=one) for one in (Seeded(2.0, 5), "he_normal", More(), "identity")]
    assert initialize(keras.Sequential([keras.Input((4,)), *stack]), seed=0).notes == ()


def test_the_plan_says_that_arguments_are_unknown():
    plan = initialize(dense(keras_initx.Scaled(Fill(2.0), 0.5)), seed=0, dry_run=True)
    assert plan.rows[0].initializer == "Scaled(initializer=Fill(...), factor=0.5)"


class Seeded(keras.initializers.Initializer):
    """Has a complete config."""

    def __init__(self, stddev, seed=None):
        self.stddev, self.seed = stddev, seed

    def __call__(self, shape, dtype=None):
        return fill(shape, dtype, self.stddev * (self.seed % 1000))

    def get_config(self):
        return {"stddev": self.stddev, "seed": self.seed}


def test_a_users_initializer_with_a_complete_config_gets_the_seed_of_the_weight():
    model = dense(Seeded(2.0, seed=5))
    weight = initialize(model, seed=0).rows[0]
    assert weight.seed == keras_initx.weight_seed("dense/kernel", 0) != 5
    np.testing.assert_array_equal(kernel(model), np.full((4, 3), 2.0 * (weight.seed % 1000)))


class More(keras_initx.VarianceScaling):
    def __init__(self, factor=2.0, *args, **options):
        super().__init__(*args, **options)
        self.factor = factor

    def draw(self, stream, shape, dtype):
        return super().draw(stream, shape, dtype) * self.factor


class Positional(keras_initx.HeNormal):
    def __init__(self, *args):
        super().__init__(*args)


@pytest.mark.parametrize(
    ("initializer", "config", "text"),
    [
        (More(3.0, 4.0, seed=1), {"factor": 3.0, "scale": 4.0, "seed": 1}, "More(factor=3.0, scale=4.0, "),
        (Positional(7), {"seed": 7}, "Positional(seed=7)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arguments_that_a_subclass_passes_on_are_in_its_config(initializer, config, text):
    assert initializer.get_config().items() >= config.items()
    assert repr(initializer).startswith(text)


def test_a_subclass_that_passes_arguments_on_can_be_cloned_and_drawn():
    initializer = More(3.0, 4.0, seed=1)
    assert initializer.clone() == initializer
    first, second = dense(initializer), dense(type(initializer)(**{**initializer.get_config(), "seed": 9}))
    assert initialize(first, seed=0).rows[0].seed == keras_initx.weight_seed("dense/kernel", 0)
    initialize(second, seed=0)
    np.testing.assert_array_equal(kernel(first), kernel(second))


def test_a_subclass_that_takes_positions_only_is_called_itself():
    model = dense(Positional(7))
    before = kernel(model)
    assert initialize(model, seed=0).rows[0].seed is None
    np.testing.assert_array_equal(kernel(model), before)


class Imaginary(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return np.ones(shape) + 1j


class Masked(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return np.ma.array(np.ones(shape), mask=True)


class Wide(keras.initializers.Initializer):
    """Gives float64, whatever is asked for."""

    def __call__(self, shape, dtype=None):
        return np.full(shape, 1e39)


@pytest.mark.parametrize(
    ("initializer", "dtype", "message"),
    [
        (Imaginary(), "float32", "which gives complex numbers"),
        (Wide(), "float32", "which gives numbers beyond the range of float32"),
        (Masked(), "float32", "which gives a masked array"),
        (keras.initializers.Constant(1e6), "float16", "which gives numbers beyond the range of float16"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_values_that_a_weight_cannot_hold_are_refused(initializer, dtype, message):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, dtype=dtype)])
    before = kernel(model)
    with pytest.raises(
        ValueError, match=rf"`rules` must suit the weights\. Received: .* for 'dense/kernel', {message}"
    ):
        initialize(model, {"*/kernel": initializer}, seed=0)
    np.testing.assert_array_equal(kernel(model), before)


def test_infinite_values_are_allowed_and_said():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, dtype="float16")])
    rules = {"*/kernel": keras.initializers.Constant(-np.inf)}
    assert initialize(model, rules, seed=0, dry_run=True).notes == ()
    (note,) = initialize(model, rules, seed=0).notes
    assert note == "dense/kernel is not finite: 12 of 12 values are -inf, by Constant(value=-inf)."
    assert np.isneginf(kernel(model)).all()


def test_a_row_of_a_plan_says_that_values_are_not_finite():
    class One(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return np.where(np.arange(shape[0]) == 1, np.nan, 0.5).astype(dtype)

    stack = [layers.Dense(3, bias_initializer=initializer) for initializer in ("ones", One())]
    plan = initialize(keras.Sequential([keras.Input((4,)), *stack]), seed=0)
    assert plan.notes == ("dense_1/bias is not finite: 1 of 3 values is nan, by One().",)
    row = next(line for line in str(plan).splitlines() if line.startswith("dense_1/bias "))
    assert row.endswith("not finite")


def test_a_mask_that_is_not_trained_is_drawn_without_a_note():
    class Masked(layers.Layer):
        def build(self, shape):
            values = keras.initializers.Constant([0.0, -np.inf])
            self.mask = self.add_weight(shape=(2,), initializer=values, trainable=False)

        def call(self, inputs):
            return keras.ops.softmax(inputs + self.mask)

    model = keras.Sequential([keras.Input((2,)), Masked()])
    assert initialize(model, seed=0, dry_run=True).notes == initialize(model, seed=0).notes == ()


@pytest.mark.parametrize(
    ("initializer", "problem", "place"),
    [
        (
            keras.initializers.TruncatedNormal(stddev="0.1"),
            "`stddev` must be a finite number. Received: stddev='0.1'",
            "layer",
        ),
        (keras_initx.Scaled(keras.initializers.Orthogonal(gain=np.nan), 2), "`gain` must be a finite number", "rule"),
        (
            {"class_name": "VarianceScaling", "config": {"scale": np.inf}},
            "`scale` must be a finite number. Received: scale=inf",
            "rule",
        ),
    ],
    ids=["string in a layer", "nested", "config"],
)
def test_numbers_of_keras_random_initializers_are_finite(initializer, problem, place):
    rules = {"*/kernel": initializer}
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    if place == "layer":
        rules = None
        model.layers[0].kernel_initializer = keras.initializers.get(initializer)
    before = kernel(model)
    for dry_run in (True, False):
        with pytest.raises(ValueError, match=rf"for 'dense\S*/kernel': {re.escape(problem)}"):
            initialize(model, rules, seed=0, dry_run=dry_run)
    np.testing.assert_array_equal(kernel(model), before)


@pytest.mark.parametrize(
    "initializer", [keras.initializers.Orthogonal(gain=-2.0), keras.initializers.RandomUniform(1.0, 0.0)]
)
def test_keras_draws_by_the_seed_what_its_counterpart_refuses(initializer):
    kernels = []
    for _ in range(2):
        model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense")])
        plan = initialize(model, {"*/kernel": initializer}, seed=0)
        kernels.append(kernel(model))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert plan.rows[0].seed == derived_seed(0, "dense/kernel")


class OwnAxes(keras_initx.HeNormal):
    """Takes no seed."""

    def __init__(self):
        super().__init__(input_axes=[0, 1])


def test_a_subclass_without_a_seed_is_copied_and_seeded():
    assert (repr(OwnAxes()), OwnAxes().get_config()) == ("OwnAxes()", {})
    OwnAxes().clone()
    kernels = []
    for _ in range(2):
        model = keras.Sequential([keras.Input((2,)), layers.Dense(3, kernel_initializer=OwnAxes())])
        initialize(model, seed=0)
        kernels.append(to_numpy(model.layers[0].kernel))
    np.testing.assert_array_equal(*kernels)


class Given(layers.Layer):
    """Gives its weights arrays."""

    def build(self, shape):
        for name, value in {"zero": np.zeros(1), "three": keras.ops.arange(3.0), "number": np.float32(0)}.items():
            self.add_weight(shape=np.shape(value), initializer=value, name=name)
        self.add_weight(shape=shape[1:], initializer="ones", name="scale")

    def call(self, inputs):
        return inputs


def test_arrays_of_a_layer_are_left():
    model = keras.Sequential([keras.Input((8,)), Given(name="given")])
    assert [row.detail for row in initialize(model, seed=0).rows] == ["initializer unknown"] * 3 + [""]
    assert [to_numpy(weight.value).sum() for weight in model.weights] == [0, 3, 0, 8]


class MyTruncated(keras.initializers.TruncatedNormal):
    """Is not replaced, so its argument has the meaning that Keras gives it."""


def test_a_subclass_of_an_initializer_of_keras_keeps_its_arguments():
    model = dense(MyTruncated(stddev=0.5))
    weight = initialize(model, seed=0).rows[0]
    assert weight.initializer == "MyTruncated(stddev=0.5)"
    np.testing.assert_array_equal(kernel(model), to_numpy(MyTruncated(stddev=0.5, seed=weight.seed)((4, 3))))


@keras.saving.register_keras_serializable("tests")
class Around(keras.initializers.Initializer):
    """Has another initializer in its config."""

    def __init__(self, inner):
        self.inner = keras.saving.deserialize_keras_object(inner) if isinstance(inner, dict) else inner

    def __call__(self, shape, dtype=None):
        return self.inner(shape, dtype)

    def get_config(self):
        return {"inner": keras.saving.serialize_keras_object(self.inner)}


def test_an_initializer_in_the_config_of_a_users_gets_a_seed_for_each_weight():
    around = Around(keras.initializers.RandomNormal(seed=1))
    stack = [layers.Dense(4, kernel_initializer=around) for _ in range(2)]
    model = keras.Sequential([keras.Input((4,)), *stack])
    found = []
    for seed in (0, 0, 1):
        initialize(model, seed=seed)
        found.append([to_numpy(layer.kernel).copy() for layer in stack])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(*found[0])
    assert not np.array_equal(found[0][0], found[2][0])


def test_an_lstm_may_have_its_forget_bias_from_an_initializer():
    bias = keras_initx.LSTMForgetBias(1.0)
    model = keras.Sequential([keras.Input((5, 4)), layers.LSTM(2, bias_initializer=bias)])
    before = to_numpy(model.layers[0].cell.bias)
    assert initialize(model, seed=0).rows[-1].initializer == "LSTMForgetBias()"
    np.testing.assert_array_equal(to_numpy(model.layers[0].cell.bias), before)


def test_a_subclass_may_have_any_argument():
    model = dense(Signs())
    plan = initialize(model, seed=0)
    assert plan.rows[0].seed == initialize(dense("he_normal"), seed=0, dry_run=True).rows[0].seed
    np.testing.assert_array_equal(abs(kernel(model)), np.full((4, 3), 2.0))
