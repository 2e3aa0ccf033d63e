"""One compiled copy in all trials gives the records of a new model in each, and nothing that differs is mixed up."""

import functools

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy
from networks import Subclassed, build_without_input, data, timeless

from keras_initx._keras import compiled_metrics
from keras_initx.studies import _reuse, compare_initializers, random_restarts

DENSE = keras.layers.Dense
LOSS = "sparse_categorical_crossentropy"


class OwnLayer(DENSE):
    """A layer of a user, of whose models no copy is made."""


def sequential(
    initializer="he_normal", *, dense=DENSE, activation="relu", rate=0.2, trainable=True, loss=LOSS, **options
):
    layers = [
        keras.Input((6,)),
        dense(8, activation, kernel_initializer=initializer, trainable=trainable),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(rate),
        keras.layers.Dense(3, "softmax", kernel_initializer=initializer, name="last"),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.01, **options), loss, metrics=["accuracy"])
    return model


def functional(initializer, *, dense=DENSE):
    inputs = keras.Input((6,))
    x = dense(6, "relu", kernel_initializer=initializer, kernel_regularizer="l2")(inputs)
    x = keras.ops.add(x, inputs)
    x = keras.layers.LayerNormalization()(keras.layers.GaussianNoise(0.1)(x))
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax", kernel_initializer=initializer)(x))
    schedule = keras.optimizers.schedules.ExponentialDecay(0.05, decay_steps=3, decay_rate=0.5)
    model.compile(keras.optimizers.Adam(schedule), LOSS, metrics=["accuracy"])
    return model


def first_frozen(initializer, **options):
    """The weights that are not trained differ between trials too: no compiled program may keep those of the first."""
    return sequential(initializer, trainable=False, **options)


VARIANTS = [
    {},
    {"activation": "tanh"},
    {"rate": 0.5},
    {"trainable": False},
    {"loss": keras.losses.SparseCategoricalCrossentropy(reduction="sum")},
    {"clipnorm": 0.01},
]


def variant(number, **options):
    return sequential(**VARIANTS[number], **options)


def results(build, initializers, epochs):
    """Return all records of a study but the seconds, and the diagnoses but the names, which depend on the process."""
    study = compare_initializers(build, initializers, data(), repeats=1, epochs=epochs)
    assert {trial.status for trial in study.trials.values()} == {"finished"}
    layers = [{key: value for key, value in row.items() if key != "layer"} for row in study.first_batches]
    return timeless(study.records), layers


def own(build):
    """Return a function that builds the same models with a layer of a user."""
    return functools.partial(build, dense=OwnLayer)


# Keras 3.10 gives a model from a config a list of inputs, and warns of the one input that it gets.
@pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match")
@pytest.mark.parametrize("build", [first_frozen, pytest.param(functional, marks=pytest.mark.once)])
def test_a_copy_gives_the_same_records_bit_for_bit(build, trained):
    shared = results(build, ["he_normal", "initx.sparse"], epochs=2)
    assert (len(trained), len(set(trained))) == (2, 1)
    for copied, alone in zip(shared, results(own(build), ["initx.sparse"], epochs=2), strict=True):
        assert [row for row in copied if row["initializer"] == "initx.sparse"] == alone


@pytest.mark.once
def test_what_differs_is_not_mixed_up(trained):
    initializers = {"again": 0, **{str(number): number for number in range(len(VARIANTS))}}
    shared = results(variant, initializers, epochs=1)
    assert (len(trained), len(set(trained))) == (len(VARIANTS) + 1, len(VARIANTS))
    assert shared == results(own(variant), initializers, epochs=1)


@pytest.mark.once
def test_restarts_find_the_same_with_copies(trained):
    found = random_restarts(sequential, data(), n=2, epochs=2, checks=1)
    assert len(trained) > len(set(trained)) == 1
    again = random_restarts(own(sequential), data(), n=2, epochs=2, checks=1)
    assert len(set(trained)) > 2
    assert [timeless(draw["epochs"]) for draw in found.draws] == [timeless(draw["epochs"]) for draw in again.draws]
    for one, other in zip(found.model.weights, again.model.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


@pytest.mark.once
def test_the_models_of_the_user_stay_as_they_were_built():
    built = []

    def build(initializer="he_normal"):
        model = sequential(initializer)
        built.append((model, [to_numpy(weight) for weight in model.weights]))
        return model

    compare_initializers(build, ["he_normal"], data(), repeats=3, epochs=1)
    for model, weights in built:
        for own, other in zip(model.weights, weights, strict=True):
            np.testing.assert_array_equal(to_numpy(own), other)
    best = random_restarts(build, data(), n=2, epochs=1, checks=0).model
    assert best is built[-1][0]


@pytest.mark.once
def test_the_diagnosis_names_the_layers_of_the_users_model():
    names = []

    def build(initializer):
        model = sequential(initializer)
        names.append([layer.name for layer in model.layers if layer.weights and "dropout" not in layer.name])
        return model

    study = compare_initializers(build, ["he_normal"], data(), repeats=2, epochs=1)
    assert names == [[row["layer"] for row in t.first_batch["layers"]] for t in study.trials.values()]


def subclassed_and_built():
    model = Subclassed("he_normal")
    model.build((None, 6))
    model.compile("sgd", LOSS)
    return model


def own_relu(x):
    return keras.ops.maximum(x, 0.5)


own_relu.__name__ = "relu"


def with_layer(layer):
    model = keras.Sequential([keras.Input((6,)), layer, keras.layers.Dense(3, "softmax")])
    model.compile("sgd", LOSS)
    return model


def own_loss(y, outputs):
    return keras.ops.mean(outputs)


def with_automatic_outputs():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, [keras.layers.Dense(3)(inputs), keras.layers.Dense(2)(inputs)])
    model.compile("sgd", ["mse", "mse"])
    return model


def with_a_frozen_variable():
    model = sequential()
    model.layers[0].kernel.trainable = False
    return model


def compiled_with(optimizer="sgd", **options):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])
    model.compile(optimizer, **{"loss": LOSS, **options})
    return model


def without_decay():
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    return optimizer


def with_a_mask():
    layer = keras.layers.Dense(4)
    layer.supports_masking = not layer.supports_masking
    return with_layer(layer)


@pytest.mark.once
@pytest.mark.parametrize(
    "build",
    [
        with_a_mask,
        lambda: with_layer(keras.layers.Dense(4, autocast=False)),
        lambda: compiled_with(loss=keras.losses.Huber(20.0)),
        lambda: compiled_with(without_decay()),
        lambda: compiled_with(keras.optimizers.LossScaleOptimizer(without_decay())),
        lambda: compiled_with(metrics=[[keras.metrics.CosineSimilarity(axis=0)]]),
        lambda: compiled_with(weighted_metrics=[keras.metrics.CosineSimilarity(axis=0)]),
        subclassed_and_built,
        build_without_input,
        with_automatic_outputs,
        with_a_frozen_variable,
        lambda: sequential(loss=own_loss),
        lambda: with_layer(keras.layers.Dense(4, own_relu)),
        lambda: with_layer(OwnLayer(4)),
        lambda: with_layer(keras.layers.Lambda(lambda x: 2 * x)),
        lambda: with_layer(keras.layers.Normalization(mean=0.0, variance=2.0)),
    ],
    ids=[
        *("mask", "autocast", "delta", "decay", "scaled decay", "metric", "weighted metric"),
        *("subclassed", "unbuilt", "outputs", "variable", "loss", "function", "layer", "lambda", "adapted"),
    ],
)
def test_what_a_config_does_not_say_is_trained_itself(build):
    model = build()
    with _reuse.compiled_once(model, data()) as trained:
        assert trained is model


def with_parts():
    """Return a model with all parts that may have something of their own."""
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6)])
    kernel = {"kernel_regularizer": "l2", "kernel_constraint": "max_norm"}
    layers = [
        keras.layers.Dense(6, "relu", activity_regularizer="l2", dtype=keras.DTypePolicy("float32"), **kernel),
        inner,
        keras.layers.Dropout(0.1),
        keras.layers.Reshape((2, 3)),
        keras.layers.RNN([keras.layers.GRUCell(4), keras.layers.SimpleRNNCell(4)]),
        keras.layers.Dense(3, keras.layers.LeakyReLU()),
        keras.layers.Softmax(),
    ]
    model = keras.Sequential([keras.Input((6,)), *layers])
    schedule = keras.optimizers.schedules.ExponentialDecay(0.05, decay_steps=3, decay_rate=0.5)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(schedule))
    loss = keras.losses.SparseCategoricalCrossentropy()
    metric = keras.metrics.SparseCategoricalAccuracy()
    model.compile(optimizer, loss, metrics=[metric], weighted_metrics=[keras.metrics.MeanSquaredError()])
    return model


METHODS = {
    "train_step": lambda model: model,
    "test_step": lambda model: model,
    "compute_loss": lambda model: model,
    "compute_metrics": lambda model: model,
    "call": lambda model: model.layers[0],
    "call of a nested layer": lambda model: model.layers[1].layers[0],
    "call of a cell": lambda model: model.layers[4].cell.cells[0],
    "call of an activation": lambda model: model.layers[5].activation,
    "next": lambda model: model.layers[2].seed_generator,
    "__call__": lambda model: model.layers[0].kernel_regularizer,
    "__call__ of an activity": lambda model: model.layers[0].activity_regularizer,
    "__call__ of a constraint": lambda model: model.layers[0].kernel_constraint,
    "convert_input": lambda model: model.layers[0].dtype_policy,
    "assign": lambda model: model.layers[0].kernel,
    "apply": lambda model: model.optimizer,
    "update_step": lambda model: model.optimizer.inner_optimizer,
    "__call__ of a schedule": lambda model: vars(model.optimizer.inner_optimizer)["_learning_rate"],
    "call of a loss": lambda model: model.loss,
    "update_state": lambda model: compiled_metrics(model)[0],
    "result": lambda model: compiled_metrics(model)[1],
}


class Replacement:
    """Does what a function does, as a method and as an object."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments, **options):
        return self.function(*arguments, **options)


def renamed(function):
    """Return a function with the name and the module of another one."""
    return functools.wraps(function)(lambda *arguments, **options: function(*arguments, **options))


FORMS = {
    "method": lambda function: Replacement(function).__call__,
    "partial": functools.partial,
    "object": Replacement,
    "lambda": lambda function: lambda *arguments, **options: function(*arguments, **options),
    "wrapper": renamed,
    "another of Keras": lambda function: keras.activations.relu,
}


def assert_trained_itself(model):
    with _reuse.copies_dropped(), _reuse.compiled_once(model, data()) as trained:
        assert trained is model


ON_EACH_BACKEND = ["compute_loss", "call", "apply"]
ON_ONE = [pytest.param(name, marks=pytest.mark.once) for name in METHODS if name not in ON_EACH_BACKEND]


@pytest.mark.parametrize("what", [*ON_EACH_BACKEND, *ON_ONE])
def test_a_model_with_a_method_of_the_user_is_trained_itself(what):
    model = with_parts()
    owner, name = METHODS[what](model), what.split()[0]
    setattr(owner, name, functools.partial(getattr(owner, name)))
    assert_trained_itself(model)


@pytest.mark.once
@pytest.mark.parametrize("form", FORMS)
def test_a_method_of_the_user_may_have_any_form(form):
    model = with_parts()
    model.optimizer.apply = FORMS[form](model.optimizer.apply)
    assert_trained_itself(model)


@pytest.mark.once
@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.layers[0], "activation", renamed(keras.activations.relu)),
        lambda model: setattr(model.layers[0], "activity_regularizer", lambda x: 0.0),
        lambda model: setattr(model.layers[0].kernel, "constraint", keras.constraints.NonNeg()),
        lambda model: setattr(model.layers[0], "unknown", object()),
        lambda model: setattr(model.layers[0], "unknown", 3),
        lambda model: setattr(model, "train_function", print),
    ],
    ids=["activation", "regularizer", "constraint", "object", "number", "program"],
)
def test_a_model_that_was_changed_after_it_was_made_is_trained_itself(change):
    model = with_parts()
    change(model)
    assert_trained_itself(model)


@pytest.mark.once
def test_a_model_with_many_parts_is_trained_in_a_copy():
    with _reuse.copies_dropped():
        with _reuse.compiled_once(with_parts(), data()) as first:
            pass
        with _reuse.compiled_once(with_parts(), data()) as second:
            assert second is first


@pytest.mark.once
@pytest.mark.parametrize("form", ["method", "partial"])
def test_what_the_user_set_on_a_model_counts(form):
    def build(factor):
        model = sequential("zeros", rate=0.0)
        compute = model.compute_loss
        model.compute_loss = FORMS[form](lambda *arguments, **options: factor * compute(*arguments, **options))
        return model

    study = compare_initializers(build, {"plain": 1, "tenfold": 10}, data(), repeats=1, epochs=1)
    plain, tenfold = (study.trials[name, 1].epochs[0]["val_loss"] for name in ("plain", "tenfold"))
    assert tenfold == pytest.approx(10 * plain)


@pytest.mark.once
def test_what_the_user_set_on_a_class_of_keras_counts(monkeypatch):
    plain, _ = results(sequential, ["he_normal"], epochs=1)
    compute = keras.Model.compute_loss
    monkeypatch.setattr(keras.Model, "compute_loss", lambda *arguments, **options: 10 * compute(*arguments, **options))
    tenfold, _ = results(sequential, ["he_normal"], epochs=1)
    assert tenfold[0]["val_loss"] == pytest.approx(10 * plain[0]["val_loss"])


@pytest.mark.once
def test_what_a_config_says_is_trained_in_a_copy():
    metrics = ["accuracy", keras.metrics.AUC(), keras.metrics.MeanIoU(3, sparse_y_pred=False)]
    for optimizer in ("adam", keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW()), keras.optimizers.Lion()):
        model = compiled_with(optimizer, loss=keras.losses.Huber(), metrics=metrics)
        with _reuse.copies_dropped(), _reuse.compiled_once(model, data()) as trained:
            assert trained is not model


def test_a_copy_is_kept_after_success_and_dropped_after_an_exception():
    with _reuse.copies_dropped():
        with _reuse.compiled_once(sequential(), data()) as first:
            assert not _reuse._KEPT
        with _reuse.compiled_once(sequential(), data()) as second:
            assert second is first
        with pytest.raises(KeyboardInterrupt), _reuse.compiled_once(sequential(), data()):
            raise KeyboardInterrupt
        assert not _reuse._KEPT


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX compiles the gradients")
def test_the_gradients_of_a_copy_are_compiled_once(monkeypatch):
    import jax

    made, compile = [], jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda lowered: made.append(lowered) or compile(lowered))
    _, layers = results(sequential, ["he_normal", "ones"], epochs=1)
    assert len(made) == 1
    norms = [row["gradient_norm"] for row in layers]
    assert norms[:3] != norms[3:]


@pytest.mark.once
def test_few_copies_are_kept_and_none_beyond_the_study():
    with _reuse.copies_dropped():
        for number in range(3):
            with _reuse.compiled_once(variant(number), data()) as last:
                pass
        assert len(_reuse._KEPT) == _reuse._KEPT_AT_MOST
        assert list(_reuse._KEPT.values())[-1] is last
    assert not _reuse._KEPT
