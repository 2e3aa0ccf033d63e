"""Gradients that layers hold back, weights that Keras does not track: how serious it is, and what is sound."""

import keras
import numpy as np
import pytest
from asked import asked
from diagnosed import FAULTY
from diagnosed.networks import Written, in_precision
from keras import layers, ops
from modes import often, to_numpy

import keras_initx
from keras_initx.tools.diagnose._unreached_layers import weights_blocked_by_zeros

# Keras itself warns of some of the faults.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning"),
]

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(32, 6)).astype("float32")
Y = X[:, :1] * X[:, 1:2]


# What the evidence names.
LEVELS = {
    "code that is rounded": ("error", "hidden, code"),
    "output without a loss": ("warning", "other"),
    "layers in a container that Keras does not search": ("error", "block_0/kernel"),
}


@pytest.mark.parametrize("name", LEVELS)
def test_what_learns_nothing_is_named_with_its_level(name):
    keras.utils.clear_session(free_memory=False)
    model, x, y, loss = FAULTY[name].build(False)
    (verdict,) = keras_initx.diagnose(model, x, y, loss=loss).problems
    level, named = LEVELS[name]
    assert verdict.level == level
    assert named in verdict.evidence


# What is sound.


def problems(model, x=X, y=Y, loss="mse"):
    return [verdict.problem for verdict in keras_initx.diagnose(model, x, y, loss=loss).problems]


class Dropped(layers.Layer):
    """Drops its branch for the whole batch in most steps of training."""

    def __init__(self):
        super().__init__()
        self.branch, self.generator = layers.Dense(6), keras.random.SeedGenerator(0)

    def call(self, x, training=False):
        kept = keras.random.uniform((), seed=self.generator) < 0.1 if training else True
        return x + ops.where(kept, 1.0, 0.0) * self.branch(x)


class Experts(layers.Layer):
    """Sends all examples to one of eight experts."""

    def __init__(self):
        super().__init__()
        self.experts = [layers.Dense(5) for _ in range(8)]

    def call(self, x):
        return sum(ops.where(number == 3, 1.0, 0.0) * expert(x) for number, expert in enumerate(self.experts))


@pytest.mark.rare
@pytest.mark.parametrize("part", [Dropped, Experts, lambda: layers.MultiHeadAttention(2, 8)])
def test_a_part_that_takes_no_part_in_this_batch_is_no_fault(part):
    layer = part()
    inputs = keras.Input((6,))
    hidden = layers.Dense(6)(inputs)
    if isinstance(layer, layers.MultiHeadAttention):  # of a single position
        hidden = layers.Reshape((1, 6))(hidden)
        hidden = layers.Flatten()(layer(hidden, hidden))
    else:
        hidden = layer(hidden)
    assert problems(keras.Model(inputs, layers.Dense(1)(hidden))) == []


def test_a_recurrent_kernel_of_one_step_is_no_fault():
    model = keras.Sequential([keras.Input((1, 6)), layers.LSTM(4), layers.Dense(1)])
    assert problems(model, X[:, None]) == []


def test_a_loss_that_is_0_already_is_no_fault():
    last = layers.Dense(1, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(2.0))
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4), last])
    assert "no gradient" not in problems(model, X, np.ones((32, 1)), "hinge")


def test_an_unused_output_of_a_model_inside_is_a_note():
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, "relu")(inputs)
    pooled = layers.Dense(9, name="pooled")(hidden)
    backbone = keras.Model(inputs, {"hidden": hidden, "pooled": pooled}, name="backbone")
    model = keras.Model(inputs, layers.Dense(1)(backbone(inputs)["hidden"]))
    (verdict,) = keras_initx.diagnose(model, X, Y, loss="mse").verdicts
    assert (verdict.problem, verdict.level, verdict.layers) == ("no gradient", "note", ("backbone/pooled",))


def test_a_training_step_of_ones_own_may_train_what_the_loss_does_not():
    class Own(Written):
        def train_step(self, *arguments):
            raise NotImplementedError

    def call(model, x):
        model.second(x)
        return model.out(x)

    assert problems(Own(call, second=layers.Dense(24), out=layers.Dense(1))) == []


def test_weights_are_put_back_after_gradients_of_0():
    model, x, y, loss = FAULTY["code that is rounded"].build(False)
    before = [to_numpy(weight.value).copy() for weight in model.weights]
    keras_initx.diagnose(model, x, y, loss=loss)
    for one, other in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, to_numpy(other.value))


def test_a_frozen_extractor_in_a_function_is_no_fault():
    extractor = layers.Dense(8)
    extractor.build((None, 6))
    extractor.trainable = False
    model = keras.Sequential([keras.Input((6,)), layers.Lambda(lambda x: extractor(x), output_shape=(8,))])
    model.add(layers.Dense(1))
    assert problems(model) == []


RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(16, 5, 5, 3)).astype("float32")
TOKENS = RNG.integers(0, 20, (16, 5))
SERIES = RNG.normal(size=(16, 5, 8)).astype("float32")
ROWS = SERIES[:, 0]
ADAPTED = {
    "dense": (lambda: layers.Dense(8, name="adapted"), ROWS),
    "embedding": (lambda: layers.Embedding(20, 8, name="adapted"), TOKENS),
    "einsum": (lambda: layers.EinsumDense("abc,cd->abd", (5, 8), name="adapted"), SERIES),
    "convolution": (lambda: layers.Conv2D(8, 3, name="adapted"), IMAGES),
}


def ended(stack, x):
    """Return a model of layers and a last one, with inputs and targets."""
    model = keras.Sequential([keras.Input(x.shape[1:], dtype=x.dtype), *stack, layers.Flatten(), layers.Dense(1)])
    return model, x, RNG.normal(size=(len(x), 1)).astype("float32")


def adapted(kind, both, rank=2):
    """Return a network with an adapter of which both factors are 0, or the one that Keras makes so."""
    make, x = ADAPTED[kind]
    layer = make()
    network = ended([layer], x)
    layer.enable_lora(rank)
    if both:
        for weight in layer.trainable_variables:
            weight.assign(np.zeros(weight.shape))
    return network


def levels(model, x, y=None):
    loss = None if y is None else "mse"
    return [verdict.level for verdict in keras_initx.diagnose(model, x, y, loss=loss).verdicts]


@pytest.mark.parametrize("rank", often([1, 2], [2]))
@pytest.mark.parametrize("kind", often(ADAPTED, [*ADAPTED][::2]))
def test_an_adapter_of_zeros_is_an_error_and_one_that_begins_at_zero_is_none(kind, rank):
    network = adapted(kind, True, rank)
    report = keras_initx.diagnose(*network, loss="mse")
    (drawn,) = report.problems[0].remedy.rules
    assert drawn in ("adapted/lora_kernel_a", "adapted/lora_embeddings_a")
    keras_initx.initialize(network[0], report, seed=0)
    assert levels(*network) == levels(*adapted(kind, False, rank)) == []


def held(*network):
    """Return the paths of the weights of zeros that hold each other."""
    return {weight.path for weight in asked(weights_blocked_by_zeros, *network, loss="mse")}


@pytest.mark.release_backends
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "bfloat16"])
def test_both_factors_are_found_in_each_precision(policy):
    network = in_precision(policy, lambda: adapted("dense", True))
    assert held(*network) == {f"adapted/lora_kernel_{factor}" for factor in "ab"}


def test_both_factors_of_an_adapter_are_named_without_targets_too():
    model, x, _ = adapted("dense", True)
    (verdict,) = keras_initx.diagnose(model, x).verdicts
    assert (verdict.problem, verdict.level) == ("equal units", "error")
    assert "adapted/lora_kernel_a, adapted/lora_kernel_b are 0, and get no gradient" in verdict.evidence


def test_both_factors_are_named_where_a_model_has_its_own_training_step():
    class Own(Written):
        def train_step(self, *arguments):
            raise NotImplementedError

    layer = layers.Dense(8, name="adapted")
    model = Own(lambda model, x: model.out(model.adapted(x)), adapted=layer, out=layers.Dense(1))
    model(ROWS)
    layer.enable_lora(2)
    layer.lora_kernel_a.assign(np.zeros(layer.lora_kernel_a.shape))
    assert "error" in levels(model, ROWS, ROWS[:, :1])


def test_without_targets_it_is_not_known_whether_a_product_of_zeros_learns():
    shapes, function = PRODUCTS["matrices"]
    model, x, _ = ended([Product(shapes, ("zeros", "zeros"), function)], ROWS)
    assert levels(model, x) == ["note"]


@pytest.mark.rare
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
@pytest.mark.filterwarnings("ignore:.*layer.* skipped because they do not support quantization:UserWarning")
def test_the_factors_of_a_quantized_layer_are_drawn_anew():
    network = adapted("dense", True)
    network[0].quantize("int8")
    remedy = keras_initx.diagnose(*network, loss="mse").problems[0].remedy
    assert list(remedy.rules) == ["adapted/lora_kernel_a"]
    keras_initx.initialize(network[0], {**remedy.rules, "*": None}, seed=0)
    assert not keras_initx.diagnose(*network, loss="mse").problems


class Product(layers.Layer):
    """Add the product of two weights and the inputs to these."""

    def __init__(self, shapes, initializers, function):
        super().__init__(name="product")
        self.shapes, self.initializers, self.function = shapes, initializers, function

    def build(self, shape):
        self.first, self.second = (
            self.add_weight(shape=one, initializer=initializer, name=name)
            for name, one, initializer in zip(("first", "second"), self.shapes, self.initializers, strict=True)
        )

    def call(self, inputs):
        return inputs + self.function(inputs, self.first, self.second)


PRODUCTS = {
    "matrices": (((8, 2), (2, 8)), lambda x, first, second: x @ (first @ second)),
    "scale and vector": (((), (8,)), lambda x, first, second: first * second * x),
    "vectors": (((8,), (8,)), lambda x, first, second: first * second),
}


@pytest.mark.rare
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_of_zeros_is_an_error_unless_one_factor_is_none(name):
    shapes, function = PRODUCTS[name]
    for initializers in (("zeros", "ones"), ("ones", "zeros")):
        network = ended([Product(shapes, initializers, function)], ROWS)
        assert held(*network) == set()
    network = ended([Product(shapes, ("zeros", "zeros"), function)], ROWS)
    report = keras_initx.diagnose(*network, loss="mse")
    assert "product/first, product/second are 0, and get no gradient" in report.problems[0].evidence
    assert list(report.problems[0].remedy.rules) == ["product/first"]
    keras_initx.initialize(network[0], report, seed=0)
    assert "error" not in levels(*network)


def test_queries_and_keys_of_zeros_are_an_error_and_one_of_them_is_none():
    for zero, expected in ((["query"], "note"), (["query", "key"], "error")):
        inputs = keras.Input((5, 8))
        layer = layers.MultiHeadAttention(2, 4)
        model = keras.Model(inputs, layers.Dense(1)(layer(inputs, inputs)))
        for part in zero:
            kernel = getattr(layer, f"{part}_dense").kernel
            kernel.assign(np.zeros(kernel.shape))
        assert levels(model, SERIES, SERIES[:, :, :1]) == [expected]


def modulated(end):
    """Return a block that is scaled, shifted and gated by a layer of zeros (Peebles and Xie, 2023)."""
    inputs = keras.Input((8,))
    modulation = layers.Dense(24, kernel_initializer="zeros", name="modulation")(inputs)
    shift, scale, gate = ops.split(modulation, 3, axis=-1)
    hidden = layers.LayerNormalization(center=False, scale=False)(inputs) * (1 + scale) + shift
    branch = layers.Dense(8, kernel_initializer=end, name="end")(layers.Dense(16, "gelu")(hidden))
    outputs = layers.Dense(1, kernel_initializer="zeros", name="out")(inputs + gate * branch)
    return keras.Model(inputs, outputs), ROWS, ROWS[:, :1]


def test_what_waits_for_zeros_that_learn_is_a_note():
    """At first the modulation gets no gradient, because the last layer is 0; once that has changed, it does."""
    assert levels(*modulated("glorot_uniform")) == ["note"]
    assert held(*modulated("zeros")) == {"modulation/kernel", "end/kernel"}


def test_all_weights_are_as_before():
    network = adapted("dense", True)
    before = [to_numpy(weight).copy() for weight in network[0].weights]
    keras_initx.diagnose(*network, loss="mse")
    for one, other in zip(before, network[0].weights, strict=True):
        np.testing.assert_array_equal(one, to_numpy(other))


def test_a_factor_of_one_number_without_a_gradient_is_changed_like_others():
    def function(inputs, factor, kernel):
        return ops.stop_gradient(factor * (inputs @ kernel))

    network = ended([Product(((), (8, 8)), ("ones", "glorot_uniform"), function)], ROWS)
    (verdict,) = keras_initx.diagnose(*network, loss="mse").verdicts
    assert (verdict.problem, verdict.layers) == ("no gradient", ("product",))


@pytest.mark.release_backends
def test_large_kernels_of_zeros_are_no_lost_connection():
    x = np.random.default_rng(0).normal(size=(32, 256))
    stack = [layers.Dense(512, "relu", kernel_initializer="zeros"), layers.Dense(3, kernel_initializer="zeros")]
    model = keras.Sequential([keras.Input((256,)), *stack])
    problems = {verdict.problem for verdict in keras_initx.diagnose(model, x, x[:, :3], loss="mse").verdicts}
    assert "equal units" in problems
    assert "no gradient" not in problems


class Forgetful(keras.Model):
    """Computes with a layer whose result it does not use, beside those that learn."""

    def __init__(self, is_forgotten=True):
        super().__init__()
        self.used, self.extra = layers.Dense(6, name="used"), layers.Dense(6, name="extra")
        self.head, self.is_forgotten = layers.Dense(1, name="head"), is_forgotten

    def call(self, x):
        extra = self.extra(x)
        return self.head(self.used(x) if self.is_forgotten else self.used(x) + extra)


def test_a_forgotten_layer_beside_one_that_learns_is_named():
    (verdict,) = keras_initx.diagnose(Forgetful(), X, Y, loss="mse").problems
    assert "the loss does not depend on extra" in verdict.evidence
    assert problems(Forgetful(is_forgotten=False)) == []
