"""A weight that is not finite is found first, whatever hides it, and nothing else is said."""

import keras
import numpy as np
import pytest
from diagnosed.networks import dense, in_precision
from diagnosed.weights import decay
from judged import X, found, mlp
from keras import layers, ops
from keras.initializers import Constant
from leveled import layer_named, levels_found
from modes import to_numpy

import keras_initx

INF = np.inf


def verdict_of(network, **options):
    """Return the only verdict on a network, `None` without any."""
    model, x, y, loss = network
    verdicts = keras_initx.diagnose(model, x, y, loss=loss, **options).verdicts
    assert len(verdicts) < 2
    return verdicts[0] if verdicts else None


def with_value(value, weight="kernel", activation="tanh", **options):
    """Return a network with a value in the middle of a weight of its first layer."""
    network = dense(activation, "glorot_uniform", depth=1, **options)
    variable = getattr(network[0].layers[0], weight)
    values = np.array(to_numpy(variable))
    values.reshape(-1)[values.size // 2] = value
    variable.assign(values)
    return network


@pytest.mark.release_backends
@pytest.mark.parametrize("value", [np.nan, INF, -INF], ids=str)
def test_one_value_among_many_is_named(value):
    verdict = verdict_of(with_value(value))
    assert (verdict.problem, verdict.level) == ("not finite", "error")
    assert verdict.evidence == f"dense/kernel is not finite: 1 of 1024 values is {value}"
    assert verdict.remedy.weights == {}


def test_a_number_beyond_the_range_of_float16_is_infinite():
    network = in_precision("float16", lambda: dense(depth=1, bias_initializer=Constant(7e4)))
    verdict = verdict_of(network)
    assert verdict.evidence == "dense/bias is not finite: 32 of 32 values are inf"
    assert verdict.remedy.text == "give dense/bias finite values, from an initializer, a file or an assignment"


def test_a_weight_in_bfloat16_is_found():
    network = in_precision("bfloat16", lambda: with_value(np.nan))
    assert "1 of 1024 values is nan" in verdict_of(network).evidence


def test_a_frozen_weight_is_found_too():
    network = with_value(INF)
    network[0].layers[0].trainable = False
    assert verdict_of(network).level == "error"


def test_a_statistic_that_training_does_not_use_is_found():
    network = dense(depth=1, after=[layers.BatchNormalization])
    network[0].layers[1].moving_variance.assign(np.full(32, INF))
    assert "batch_normalization/moving_variance is not finite: 32 of 32" in verdict_of(network).evidence


@pytest.mark.rare
@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize` method:UserWarning")
def test_the_scales_of_a_quantized_layer_are_found():
    model, *rest = dense(depth=1)
    model.quantize("int8")
    model.layers[0].kernel_scale.assign(np.full(32, np.nan))
    assert "dense/kernel_scale is not finite" in verdict_of((model, *rest)).evidence


class WithUnused(keras.Model):
    """A model that has a layer which it does not call."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = layers.Dense(10), layers.Dense(4)

    def build(self, shape):
        self.used.build(shape)
        self.unused.build(shape)

    def call(self, inputs):
        return self.used(inputs)


def test_a_weight_of_a_layer_that_is_not_called_is_found():
    _, *rest = dense()
    model = WithUnused()
    model.build((None, 32))
    model.unused.bias.assign([0, 0, 0, INF])
    assert "dense_1/bias is not finite: 1 of 4 values is inf" in verdict_of((model, *rest)).evidence


@pytest.mark.release_backends
def test_steps_are_not_taken_and_blame_no_optimizer():
    model, x, y, loss = decay(False)
    model.compile("adam", loss)
    report = keras_initx.diagnose(model, x, y, steps=20)
    assert [verdict.problem for verdict in report.verdicts] == ["not finite"]
    assert report.losses == []


class Scores(layers.Layer):
    """Attend over four parts of the inputs, with a mask that is kept as a weight."""

    def __init__(self, mask, trainable=False):
        super().__init__(name="scores")
        self.initial, self.is_trained = mask, trainable

    def build(self, shape):
        initializer = Constant(self.initial)
        self.mask = self.add_weight(shape=(4, 4), initializer=initializer, trainable=self.is_trained, name="mask")

    def call(self, inputs):
        parts = ops.reshape(inputs, (-1, 4, 8))
        scores = ops.matmul(parts, ops.transpose(parts, (0, 2, 1)))
        return ops.reshape(ops.matmul(ops.softmax(scores / 3 + self.mask), parts), (-1, 32))


CAUSAL = np.triu(np.full((4, 4), -INF, "float32"), 1)
# The third part sees none.
BLIND = np.where(np.arange(4)[:, None] == 2, -INF, CAUSAL)


def masked(*arguments):
    return dense(depth=1, after=[lambda: Scores(*arguments)])


@pytest.mark.release_backends
def test_a_mask_is_meant_unless_it_is_trained_or_nothing_is_left():
    assert verdict_of(masked(CAUSAL)) is None
    assert "scores/mask is not finite: 6 of 16 values are -inf" in verdict_of(masked(CAUSAL, True)).evidence
    network = masked(BLIND)
    assert "scores/mask is not finite: 9 of 16 values are -inf" in verdict_of(network).evidence
    np.testing.assert_array_equal(to_numpy(network[0].layers[1].mask), BLIND)


class Least(layers.Layer):
    """Combine with a number that is kept beside the weights that are trained."""

    def __init__(self, function):
        super().__init__(name="least")
        self.function = function

    def build(self, shape):
        self.bound = self.add_weight(shape=(), initializer=Constant(INF), trainable=False, name="bound")

    def call(self, inputs):
        return self.function(inputs, self.bound)


def test_what_a_layer_of_a_user_keeps_is_a_note_unless_it_does_harm():
    note = verdict_of(dense(depth=1, after=[lambda: Least(ops.minimum)]))
    assert (note.problem, note.level) == ("not finite", "note")
    assert note.remedy.text.startswith("change nothing if this is intended")
    assert verdict_of(dense(depth=1, after=[lambda: Least(ops.multiply)])).level == "error"


def test_a_note_on_a_weight_hides_no_problem():
    model, x, y, loss = dense(depth=1, kernel="zeros", after=[lambda: Least(ops.minimum)])
    found = {(one.problem, one.level) for one in keras_initx.diagnose(model, x, y, loss=loss).verdicts}
    assert found == {("equal units", "error"), ("not finite", "note")}


def test_a_buffer_of_torch_is_found():
    import torch

    module = torch.nn.BatchNorm1d(32)
    module.running_mean[3] = np.nan
    model, *rest = dense(depth=1, after=[lambda: layers.TorchModuleWrapper(module)])
    evidence = verdict_of((model, *rest)).evidence
    assert evidence == "torch_module_wrapper/running_mean is not finite: 1 of 32 values is nan"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_of_inputs_that_are_not_finite_nothing_else_is_said(value):
    x = X.copy()
    x[3, 5] = value
    model = mlp("relu")
    model.layers[0].kernel.assign(0 * model.layers[0].kernel)
    (verdict,) = keras_initx.diagnose(model, x, np.ones(len(x)), loss="mse").verdicts
    assert (verdict.problem, verdict.level, verdict.layers[0]) == ("not finite", "error", "hidden_1")
    assert verdict.evidence == f"the inputs are not finite: 1 of {x.size} values are NaN or infinite"
    assert "numpy.nan_to_num(x)" in verdict.remedy.text


def test_a_model_may_replace_what_is_not_finite_itself():
    known = layers.Lambda(lambda x: keras.ops.where(keras.ops.isfinite(x), x, 0.0))
    x = X.copy()
    x[3, 5] = np.nan
    assert found(keras.Sequential([keras.Input((64,)), known, layers.Dense(5)]), x) == {}


@pytest.mark.parametrize("inputs", [1, 16], ids=["infinite", "nan"])
def test_what_is_not_finite_before_a_normalization_is_an_error(inputs):
    stack = [layer_named("hidden"), layers.BatchNormalization(name="norm"), layer_named("out")]
    model = keras.Sequential([keras.Input((16,)), *stack])
    # As a whole, so that no value is far from the others.
    kernel = 1e34 * np.array(keras.ops.convert_to_numpy(model.get_layer("hidden").kernel))
    kernel[:inputs, 5] = 3e38
    model.get_layer("hidden").kernel.assign(kernel)
    assert levels_found(model) == {("exploding", "error"): ("hidden", "norm", "out")}
