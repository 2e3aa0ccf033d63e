"""The first step is that of `fit`, nothing has changed after it, and what cannot be told is said."""

import contextlib
import dataclasses

import keras
import numpy as np
import pytest
from first_steps import CLEAN, MASKED, X, Y, all_state, clean, drawn, network, normal
from keras import layers, ops
from modes import BACKEND, often

from keras_initx import compare_outputs, record_outputs
from keras_initx.inspection._batch import Batch, first_examples, make_batch
from keras_initx.inspection._inventory import Inventory
from keras_initx.tools.compare_outputs._first_step import FirstStep
from keras_initx.tools.compare_outputs._recorded_step import record_change

pytestmark = pytest.mark.release_backends
# Without random numbers, which `fit` draws otherwise.
EXACT = ["cnn", "residual", "vit", "several_losses", "adapted", "averaged", "conv_lstm", "transposed", "deep"]


def first_step(model, x, y):
    return FirstStep(Inventory(model), Batch(*(first_examples(part, None) for part in make_batch(model, x, y))))


def assert_compared(model, x, y):
    """Assert that the first step of a model was compared, and equals itself."""
    report = compare_outputs(model, x, record_outputs(model, x, y), y=y)
    assert report.step.ok, str(report)
    return report.step


@pytest.mark.parametrize("name", often(EXACT, ["residual", "vit", "several_losses"]))
def test_it_is_the_step_that_training_takes(name):
    model, x, y = clean(name)
    taken = {weight.path: weight for weight in first_step(model, x, y).take().weights}
    weights = Inventory(model).weights
    before = {weight.path: np.array(ops.convert_to_numpy(weight.variable)) for weight in weights}
    model.train_on_batch(x, y)
    for weight in weights:
        update = taken[weight.path].update
        # Gradients of some biases are rounding.
        if update is not None and weight.name != "bias":
            expected = record_change(ops.convert_to_numpy(weight.variable) - before[weight.path])
            np.testing.assert_allclose(update.norm, expected.norm, rtol=1e-3, atol=1e-9)


class Seen(layers.Layer):
    """Notes each call, and whether gradients pass back through it."""

    def __init__(self, passes):
        super().__init__()
        self.passes = passes

    def call(self, x):
        self.passes("forward")
        if x.requires_grad:
            x.register_hook(lambda gradient: self.passes("back"))
        return x


@pytest.mark.skipif(BACKEND != "torch", reason="torch calls a layer in each pass")
def test_a_record_takes_four_steps_and_a_comparison_too():
    seen = []
    stack = [layers.Dense(4), Seen(seen.append), layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *stack])
    model.compile("adam", "mse")
    x, y = np.random.default_rng(0).normal(size=(8, 6)), np.random.default_rng(1).normal(size=(8, 3))
    seen.clear()
    recorded = record_outputs(model, x, y)
    assert (seen.count("back"), seen.count("forward")) == (4, 4 + 4)
    seen.clear()
    assert compare_outputs(model, x, recorded, y).ok
    assert (seen.count("back"), seen.count("forward")) == (4, 4 + 8)


@pytest.mark.parametrize("name", often(CLEAN, ["cnn", "holding"]))
def test_nothing_has_changed_afterward(name):
    model, x, y = clean(name)
    model.fit(x, y, epochs=1, verbose=0)
    state, generator = all_state(model), np.random.get_state()[1].copy()  # noqa: NPY002, which a model may use
    names = dict(vars(model._compile_loss))
    global_seed = ops.convert_to_numpy(keras.random.SeedGenerator(0).state)
    compare_outputs(model, x, record_outputs(model, x, y), y=y)
    for before, after in zip(state, all_state(model), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(np.random.get_state()[1], generator)  # noqa: NPY002
    assert vars(model._compile_loss).keys() == names.keys()
    np.testing.assert_array_equal(ops.convert_to_numpy(keras.random.SeedGenerator(0).state), global_seed)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_nothing_has_changed_after_an_error(number):
    def loss(y_true, y_pred):
        if len(calls) == number:
            raise RuntimeError("of the loss")
        calls.append(1)
        return ops.mean(ops.square(y_true - y_pred))

    calls = []
    model = network(loss=loss)
    state = all_state(model)
    step = first_step(model, X, Y)
    rng = np.random.default_rng(0)
    # Of one run on torch, JAX and TensorFlow the call, the gradients and the update ask for it.
    with contextlib.suppress(RuntimeError):
        step.take(rng)
        step.take(rng)
    assert len(calls) == number
    for before, after in zip(state, all_state(model), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_model_that_was_not_trained_is_as_before_for_fit():
    histories = []
    for has_step in (False, True):
        keras.utils.set_random_seed(0)
        model = network()
        if has_step:
            record_outputs(model, X, Y)
        histories.append(model.fit(X, Y, epochs=2, verbose=0).history["loss"])
    assert histories[0] == histories[1]


def test_sample_weights_count():
    weights = np.linspace(0, 2, Y[..., 0].size).astype("float32").reshape(Y.shape[:2])
    recorded = record_outputs(network(), (X, Y, weights))
    assert compare_outputs(network(), (X, Y, weights), recorded).step.ok
    report = compare_outputs(network(), X, recorded, y=Y)
    assert report.step.loss.status == "differs"


def test_a_dataset_has_its_own_targets():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return X, Y

    recorded = record_outputs(network(), Batches())
    assert compare_outputs(network(), Batches(), recorded).step.ok
    assert compare_outputs(network(), X, recorded, y=Y).step.ok


def test_masks_reach_the_loss():
    step = assert_compared(network(), MASKED, Y)
    whole = assert_compared(network(has_mask=False), MASKED, Y)
    assert step.loss.here != whole.loss.here


def test_frozen_weights_are_not_compared():
    step = assert_compared(network(is_frozen=True), X, Y)
    assert step["stem/kernel"].kind == "frozen"
    assert step["stem/kernel"].gradient is None
    report = compare_outputs(network(), X, network(is_frozen=True), y=Y)
    assert report.step["stem/kernel"].gradient.detail == "trained here only"


def test_without_an_update_nothing_is_said_of_it():
    model, x, y = clean("accumulated")
    step = assert_compared(model, x, y)
    assert {row.update.detail for row in step.rows} == {"the first step makes no update"}
    model.compile("adam", "mse")
    report = compare_outputs(model, x, clean("accumulated")[0], y=y)
    assert not report.ok
    assert "optimizer: gradient_accumulation_steps: None here, 4 there" in report.step.settings


def test_a_shared_weight_is_one_row():
    model, x, y = clean("shared")
    step = assert_compared(model, x, y)
    assert sum("one/kernel" in row.path for row in step.rows) == 1


def test_the_weights_of_an_adapter_are_compared():
    model, x, y = clean("adapted")
    step = assert_compared(model, x, y)
    assert step["hidden/kernel"].kind == "frozen"
    assert step["hidden/lora_kernel_b"].gradient.status == "equal"


@pytest.mark.parametrize("is_compiled", [True, False])
def test_how_training_is_compiled_does_not_matter(is_compiled):
    if BACKEND == "torch" and is_compiled:
        pytest.skip("torch compiles for minutes")
    model = network()
    model.compile("sgd", "mse", jit_compile=is_compiled)
    assert_compared(model, X, Y)


def test_a_loss_scale_is_taken_out():
    plain = network(optimizer=keras.optimizers.SGD(0.1))
    scaled = network(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)))
    report = compare_outputs(scaled, X, plain, y=Y)
    assert all(row.status == "equal" for row in report.step.rows)
    assert report.step.settings == ["optimizer: scales the loss: True here, False there"]


def test_an_optimizer_without_a_copy_leaves_updates_out():
    class Halving(keras.optimizers.SGD):
        def __init__(self, share=0.5, **kwargs):
            super().__init__(0.1, **kwargs)
            self.share = share

        def update_step(self, gradient, variable, learning_rate):
            super().update_step(self.share * gradient, variable, learning_rate)

        def get_config(self):
            return {"name": self.name}

    model = network(optimizer=Halving(0.25))
    step = assert_compared(model, X, Y)
    reasons = {row.update.detail for row in step.rows if row.kind == "trained"}
    assert reasons == {"there is no copy of the optimizer, whose config lacks share"}


class OwnStep(keras.Sequential):
    def train_step(self, *args):
        return super().train_step(*args)


class Draws(layers.Layer):
    """Draws from a generator that is not Keras'."""

    def call(self, x, training=False):
        return x + float(np.random.normal()) if training else x  # noqa: NPY002


class DrawsFromSeeds(layers.Layer):
    """Draws from the seeds of Keras by a function of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, x, training=False):
        return x + ops.sin(ops.sum(ops.cast(self.seed_generator.next(), "float32"))) if training else x


def quantized():
    model = network()
    model.get_layer("mid").quantize("int8")
    model.compile("sgd", "mse")
    return model


def of_dense(*parts, cls=keras.Sequential, **compiled):
    model = cls([keras.Input((6, 8)), layers.Dense(3, name="dense"), *parts])
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    return model


def frozen():
    model = of_dense()
    model.trainable = False
    return model


DRAWING = "the model draws random numbers in "
OBSTACLES = {
    "a step of its own": (lambda: of_dense(cls=OwnStep), "a `train_step` of its own"),
    "random numbers": (lambda: of_dense(Draws()), DRAWING),
    "random numbers of little size": (
        lambda: of_dense(Draws(), layers.Rescaling(1e-6)),
        "the model draws random numbers in ",
    ),
    "random numbers from seeds of Keras": (lambda: of_dense(DrawsFromSeeds()), DRAWING),
    "quantized": (quantized, "is quantized"),
    "no loss": (lambda: of_dense(loss=None), "the model has no loss"),
    "no weight": (frozen, "no weight is trained"),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_cannot_be_told_is_said(name):
    make, text = OBSTACLES[name]
    model = make()
    recorded = record_outputs(model, X, Y)
    assert text in recorded.summary
    report = compare_outputs(model, X, recorded, y=Y)
    assert not report.ok
    assert report.step.obstacle
    assert text in report.step.summary
    assert not report.step.rows


def test_a_loss_without_weights_has_gradients_of_zero():
    model = of_dense(loss=lambda y_true, y_pred: ops.mean(y_true))
    step = assert_compared(model, X, Y)
    assert {row.gradient.norm for row in step.rows} == {0.0}


def test_a_loss_of_its_own_counts():
    class Own(keras.Sequential):
        def compute_loss(self, x, y, y_pred, sample_weight=None):
            return ops.mean(ops.abs(y - y_pred))

    own = of_dense(cls=Own)
    other = of_dense(loss="mae")
    other.set_weights(own.get_weights())
    report = compare_outputs(own, X, other, y=Y)
    assert report.step.loss.status == "equal"
    assert all(row.status == "equal" for row in report.step.rows)


def test_y_needs_a_compiled_model_and_a_recorded_step():
    model = network()
    plain = keras.Sequential([keras.Input((6, 8)), layers.Dense(3)])
    with pytest.raises(ValueError, match="`y` needs a compiled model"):
        record_outputs(plain, X, Y)
    with pytest.raises(ValueError, match="`y` needs a compiled model"):
        compare_outputs(plain, X, model, y=Y)
    for like in (record_outputs(model, X), {"head": normal(16, 6, 3)}):
        with pytest.raises(ValueError, match="`y` needs the first step of the other model"):
            compare_outputs(model, X, like, y=Y)
    with pytest.raises(ValueError, match="`y` needs the first step of the other model"):
        compare_outputs(model, X, plain, y=Y)
    unbuilt = keras.Sequential([layers.Dense(3)])
    unbuilt.compile("sgd", "mse")
    with pytest.raises(ValueError, match="must be built"):
        record_outputs(unbuilt, X, Y)
    assert compare_outputs(model, X, record_outputs(model, X, Y)).step is None
    assert record_outputs(model, X).step is None


def test_one_random_output_of_two_is_enough():
    inputs = keras.Input((8,))
    outputs = {"a": layers.Dense(2, name="a")(inputs), "b": Draws(name="draws")(layers.Dense(2, name="b")(inputs))}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"a": "mse"})
    x, y = normal(16, 8), {"a": normal(16, 2)}
    report = compare_outputs(model, x, record_outputs(model, x, y), y=y)
    assert report.step.obstacle == "the model draws random numbers in draws here"


def test_a_model_without_an_optimizer_has_gradients_alone():
    step = assert_compared(of_dense(optimizer=None), X, Y)
    assert {row.gradient.status for row in step.rows} == {"equal"}
    assert {row.update.detail for row in step.rows} == {"the model has no optimizer"}


def test_an_update_of_one_spacing_of_a_float_more_differs():
    def stepping(spacings):
        model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False, name="dense")])
        model.set_weights([np.full((1, 1), 1.5)])
        model.compile(keras.optimizers.SGD(spacings * 2.0**-23), lambda y_true, y_pred: ops.mean(y_pred))
        return model

    x = np.ones((2, 1), "float32")
    for spacings, answer in ((1, "equal"), (2, "differs")):
        report = compare_outputs(stepping(1), x, stepping(spacings), y=x)
        assert report.step["dense/kernel"].update.status == answer


@pytest.mark.every_backend
def test_rows_that_tensorflow_adds_after_the_optimizer_are_not_compared_elsewhere(tmp_path):
    table = layers.Embedding(9, 4, name="table")
    model = drawn(keras.Sequential([keras.Input((4,), dtype="int32"), table, layers.GlobalAveragePooling1D()]))
    model.compile("adam", "mse")
    x, y = np.array([[0, 0, 1, 2], [2, 3, 4, 5]]), np.random.default_rng(1).normal(size=(2, 4)).astype("float32")
    recorded = record_outputs(model, x, y)
    recorded.save(tmp_path / "step.npz")
    assert compare_outputs(model, x, tmp_path / "step.npz", y=y).step["table/embeddings"].update.status == "equal"
    (weight,) = recorded.step.weights
    assert weight.has_row_gradients == (BACKEND == "tensorflow")
    elsewhere = dataclasses.replace(weight, has_row_gradients=not weight.has_row_gradients)
    recorded.step = dataclasses.replace(recorded.step, weights=[elsewhere])
    report = compare_outputs(model, x, recorded, y=y)
    row = report.step["table/embeddings"]
    assert (row.gradient.status, row.update.status) == ("equal", "not compared")
    assert row.update.detail.startswith(
        "rows are added after the optimizer on TensorFlow: docs/first_step.md#embeddings"
    )
    assert report.ok
    assert "of 1 weight not all was compared" in report.summary
