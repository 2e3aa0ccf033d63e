"""Gradients that layers hold back, weights that Keras does not track: faulty and cured."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import to_numpy

import keras_initx

# Keras itself warns of some of the faults.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning"),
]

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(32, 6)).astype("float32")
Y = X[:, :1] * X[:, 1:2]
SERIES = DRAWS.normal(size=(32, 10, 3)).astype("float32")
LAST = SERIES[:, -1, :1] + SERIES[:, -2, :1]
FORMS = ("faulty", "repaired", "remedied")


class Written(keras.Model):
    """A model with parts of its own, which are its attributes, and a function as its call."""

    def __init__(self, function, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def call(self, x):
        return self.function(self, x)


def encoder(form):
    """Blocks of a time series of one channel. Repaired by projecting it, remedied by another axis."""
    inputs = keras.Input((10, 1))
    hidden = layers.Dense(16)(inputs) if form == "repaired" else inputs
    axis = (1, 2) if form == "remedied" else -1
    for _ in range(2):
        normed = layers.LayerNormalization(axis=axis)(hidden)
        hidden = hidden + layers.MultiHeadAttention(2, 8)(normed, normed)
        branch = layers.Conv1D(4, 1, activation="relu")(layers.LayerNormalization(axis=axis)(hidden))
        hidden = hidden + layers.Conv1D(hidden.shape[-1], 1)(branch)
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(hidden))), SERIES[:, :, :1], LAST


def critic(form):
    """Instance normalization of one pixel. Repaired by layer normalization, remedied by groups of several values."""
    inputs = keras.Input((4, 4, 3))
    norm = {
        "faulty": lambda: layers.GroupNormalization(-1),
        "repaired": layers.LayerNormalization,
        "remedied": lambda: layers.GroupNormalization(2),
    }[form]()
    hidden = layers.ReLU()(norm(layers.Conv2D(16, 4)(inputs)))
    images = DRAWS.normal(size=(32, 4, 4, 3)).astype("float32")
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(hidden))), images, images[:, 0, 0, :1]


def codes(form):
    """The row of the largest code. Repaired by a dense layer, remedied by a softmax."""

    def call(model, x):
        chosen = model.encoder(x)
        if form == "faulty":
            return model.out(model.table(ops.argmax(chosen, axis=-1)))
        chosen = ops.softmax(chosen) if form == "remedied" else ops.tanh(chosen)
        return model.out(ops.matmul(chosen, model.table(ops.arange(8))))

    parts = {"encoder": layers.Dense(8, name="encoder"), "table": layers.Embedding(8, 16), "out": layers.Dense(1)}
    return Written(call, **parts), X, Y


def bits(form):
    """A code of bits. Repaired without rounding, remedied by passing its gradient on."""
    inputs = keras.Input((6,))
    code = layers.Dense(4, "sigmoid", name="code")(layers.Dense(32, "relu", name="hidden")(inputs))
    if form == "faulty":
        code = ops.round(code)
    elif form == "remedied":
        code = code + ops.stop_gradient(ops.round(code) - code)
    return keras.Model(inputs, layers.Dense(1)(layers.Dense(16, "relu")(code))), X, Y


def two_outputs(form):
    """Two outputs, of which one has no loss."""
    inputs = keras.Input((6,))
    hidden = layers.Dense(32, "relu")(inputs)
    outputs = {"one": layers.Dense(1, name="one")(hidden), "other": layers.Dense(3, name="other")(hidden)}
    if form == "repaired":
        del outputs["other"]
    return keras.Model(inputs, outputs), X, {"one": Y, "other": X[:, :3]}, ["one"] if form != "remedied" else outputs


def unused(form):
    """A layer whose output is dropped."""

    def call(model, x):
        hidden = model.first(x)
        if form == "repaired":
            return model.out(hidden)
        second = model.second(hidden)
        return model.out(second if form == "remedied" else hidden)

    parts = {"first": layers.Dense(16, "relu"), "second": layers.Dense(24, "relu", name="second")}
    if form == "repaired":
        del parts["second"]
    return Written(call, **parts, out=layers.Dense(1)), X, Y


def pooling(form):
    """Attention over the steps, whose softmax is over the one score of a step."""

    def call(model, x):
        weights = ops.softmax(model.score(x), axis=-1 if form == "faulty" else 1)
        return model.out(ops.sum(weights * x, axis=1))

    return Written(call, score=layers.Dense(1, name="score"), out=layers.Dense(1)), SERIES, LAST


def made_in_call(form):
    """A layer that is made in each call."""

    def call(model, x):
        hidden = layers.Dense(32, "relu", name="hidden") if form == "faulty" else model.hidden
        return model.out(hidden(x))

    parts = {} if form == "faulty" else {"hidden": layers.Dense(32, "relu")}
    return Written(call, **parts, out=layers.Dense(1)), X, Y


class Box:
    """A container that Keras does not search."""

    def __init__(self):
        self.blocks = [layers.Dense(32, "relu", name=f"block_{number}") for number in range(2)]


def boxed(form):
    """Layers in a container that Keras does not search."""
    box = Box()

    def call(model, x):
        for block in box.blocks:
            x = block(x)
        return model.out(x)

    parts = {} if form == "faulty" else {"blocks": box.blocks if form == "repaired" else dict(enumerate(box.blocks))}
    return Written(call, out=layers.Dense(1), **parts), X, Y


# By the program: the problem, its level, and what is named.
PROGRAMS = {
    encoder: ("no gradient", "error", "layer_normalization"),
    critic: ("no gradient", "error", "group_normalization"),
    codes: ("no gradient", "error", "encoder"),
    bits: ("no gradient", "error", "hidden, code"),
    pooling: ("no gradient", "error", "score"),
    two_outputs: ("no gradient", "warning", "other"),
    unused: ("no gradient", "warning", "second"),
    made_in_call: ("untracked weights", "error", "hidden/kernel"),
    boxed: ("untracked weights", "error", "block_0/kernel"),
}


def compiled(program, form):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    model, x, y, *trained = program(form)
    loss = dict.fromkeys(trained[0], "mse") if trained else "mse"
    model.compile(keras.optimizers.Adam(0.01), loss)
    if trained:
        y = {name: y[name] for name in trained[0]}
    return model, x, y


# Where backends differ: gradients that are 0 but for rounding, weights that Keras does not know. JAX would take minutes
# to compile all.
EVERYWHERE = {pooling, boxed}


@pytest.mark.parametrize(
    "program",
    [pytest.param(program, marks=[pytest.mark.once] * (program not in EVERYWHERE)) for program in PROGRAMS],
    ids=lambda program: program.__name__,
)
def test_a_fault_is_named_and_its_repairs_are_not(program):
    problem, level, name = PROGRAMS[program]
    (verdict,) = keras_initx.diagnose(*compiled(program, "faulty")).problems
    assert (verdict.problem, verdict.level) == (problem, level)
    assert name in verdict.evidence
    for form in FORMS[1:]:
        assert keras_initx.diagnose(*compiled(program, form)).problems == []


@pytest.mark.once
@pytest.mark.parametrize("program", [encoder, critic, codes, bits, pooling, two_outputs, unused])
def test_weights_without_gradient_do_not_change_until_it_is_cured(program):
    unchanged = {}
    for form in FORMS:
        model, x, y = compiled(program, form)
        model(x)
        before = [to_numpy(weight.value).copy() for weight in model.trainable_weights]
        model.train_on_batch(x, y)
        after = [to_numpy(weight.value) for weight in model.trainable_weights]
        unchanged[form] = sum(map(np.array_equal, before, after))
    # The bias before a softmax has no effect.
    assert unchanged["faulty"] > 1
    assert max(unchanged["repaired"], unchanged["remedied"]) <= (program is pooling)


@pytest.mark.once
@pytest.mark.parametrize("program", [boxed, pytest.param(made_in_call, marks=pytest.mark.full)])
def test_training_is_better_once_a_fault_is_cured(program):
    losses = {}
    for form in FORMS:
        model, x, y = compiled(program, form)
        losses[form] = model.fit(x, y, batch_size=16, epochs=30, verbose=0).history["loss"][-1]
    assert max(losses["repaired"], losses["remedied"]) < losses["faulty"] / 2


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


@pytest.mark.once
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


@pytest.mark.once
def test_a_recurrent_kernel_of_one_step_is_no_fault():
    model = keras.Sequential([keras.Input((1, 3)), layers.LSTM(4), layers.Dense(1)])
    assert problems(model, SERIES[:, :1], LAST) == []


@pytest.mark.once
def test_a_loss_that_is_0_already_is_no_fault():
    last = layers.Dense(1, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(2.0))
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4), last])
    assert "no gradient" not in problems(model, X, np.ones((32, 1)), "hinge")


@pytest.mark.once
def test_an_unused_output_of_a_model_inside_is_a_note():
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, "relu")(inputs)
    pooled = layers.Dense(9, name="pooled")(hidden)
    backbone = keras.Model(inputs, {"hidden": hidden, "pooled": pooled}, name="backbone")
    model = keras.Model(inputs, layers.Dense(1)(backbone(inputs)["hidden"]))
    (verdict,) = keras_initx.diagnose(model, X, Y, loss="mse").verdicts
    assert (verdict.problem, verdict.level, verdict.layers) == ("no gradient", "note", ("backbone/pooled",))


@pytest.mark.once
def test_a_training_step_of_ones_own_may_train_what_the_loss_does_not():
    class Own(Written):
        def train_step(self, *arguments):
            raise NotImplementedError

    def call(model, x):
        model.second(x)
        return model.out(x)

    assert problems(Own(call, second=layers.Dense(24), out=layers.Dense(1))) == []


@pytest.mark.once
def test_weights_are_put_back_after_gradients_of_0():
    model, x, y = compiled(bits, "faulty")
    before = [to_numpy(weight.value).copy() for weight in model.weights]
    keras_initx.diagnose(model, x, y)
    for one, other in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, to_numpy(other.value))


@pytest.mark.once
def test_a_frozen_extractor_in_a_function_is_no_fault():
    extractor = layers.Dense(8)
    extractor.build((None, 6))
    extractor.trainable = False
    model = keras.Sequential([keras.Input((6,)), layers.Lambda(lambda x: extractor(x), output_shape=(8,))])
    model.add(layers.Dense(1))
    assert problems(model) == []
