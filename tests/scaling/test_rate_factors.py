"""A factor on the learning rate of each weight: training is compared with written-out loops and plain optimizers."""

import contextlib
import copy
import functools
import pickle
import warnings

import keras
import numpy as np
import pytest
from meshes import distribution, mesh_of
from modes import BACKEND, needs_keras, to_numpy

from keras_initx import initialize
from keras_initx.scaling import RateFactors

layers = keras.layers
optimizers = keras.optimizers
FACTORS = {"first/kernel": 0.25, "*bias": 2.0, "last/kernel": 3.0}
IN_ORDER = [0.25, 2.0, 1.0, 2.0, 3.0, 2.0]
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(20, 16, 6)).astype("float32")
Y = GENERATOR.normal(size=(20, 16, 2)).astype("float32")


def network():
    hidden = [layers.Dense(8, "tanh", name=name) for name in ("first", "second")]
    model = keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(2, name="last")], name="model")
    initialize(model, seed=0)
    return model


def train(optimizer, steps=6, model=None):
    """Return the losses of training, and the weights at the end."""
    if model is None:
        model = network()
    model.compile(optimizer, "mse")
    losses = [float(model.train_on_batch(x, y)) for x, y in zip(X[:steps], Y[:steps], strict=True)]
    return losses, model


def written_out(make, steps):
    """Return the losses of a loop with an optimizer for each weight. Its gradients are steps of SGD, taken back."""
    model = network()
    model.compile(optimizers.SGD(1.0), "mse")
    each = []
    for factor in IN_ORDER:
        optimizer = make()
        optimizer.learning_rate = float(optimizer.learning_rate) * factor
        for decay in ("weight_decay", "adam_weight_decay"):
            if getattr(optimizer, decay, None) is not None:
                setattr(optimizer, decay, getattr(optimizer, decay) / factor)
        each.append(optimizer)
    losses = []
    for x, y in zip(X[:steps], Y[:steps], strict=True):
        before = [to_numpy(variable.value).copy() for variable in model.trainable_variables]
        losses.append(float(model.train_on_batch(x, y)))
        for variable, value, optimizer in zip(model.trainable_variables, before, each, strict=True):
            gradient = value - to_numpy(variable.value)
            variable.assign(value)
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return losses


OPTIMIZERS = {
    "SGD": functools.partial(optimizers.SGD, 0.01, momentum=0.9),
    "AdamW": functools.partial(optimizers.AdamW, 0.01, weight_decay=0.1),
    "Nadam": functools.partial(optimizers.Nadam, 0.01),
    "Muon": functools.partial(optimizers.Muon, 0.01),
}


@pytest.mark.rare
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_has_the_losses_of_a_loop_with_a_rate_for_each_weight(name):
    losses, _ = train(RateFactors(OPTIMIZERS[name](), FACTORS), 5)
    np.testing.assert_allclose(losses, written_out(OPTIMIZERS[name], 5), rtol=1e-5)


# One factor is not 1, but so little that nothing but its part in the optimizer differs.
NEARLY_ONE = {"*kernel": 1 + 2.0**-20}
SCHEDULE = optimizers.schedules.ExponentialDecay(0.01, 1, 0.8)
TOGETHER = {
    "learning_rate": SCHEDULE,
    "weight_decay": 0.1,
    "global_clipnorm": 0.5,
    "gradient_accumulation_steps": 2,
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 2,
    "loss_scale_factor": 8.0,
}


def two_percent():
    return 0.02


def assert_trains_as(plain, ours):
    expected, model = train(plain)
    losses, found = train(ours)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for weights in zip(found.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(*weights, atol=2e-5)
    return found


def test_all_options_of_keras_together_do_what_they_do_in_one_optimizer():
    optimizer = RateFactors(optimizers.AdamW(**TOGETHER), NEARLY_ONE)
    assert_trains_as(optimizers.AdamW(**TOGETHER), optimizer)
    assert int(optimizer.iterations) == 3


@pytest.mark.rare
@pytest.mark.parametrize(
    "options",
    [
        {"clipnorm": 0.1},
        {"use_ema": True, "ema_momentum": 0.5},
        {"learning_rate": two_percent},
    ],
    ids=lambda options: "-".join(options),
)
def test_each_option_does_what_it_does_in_one_optimizer(options):
    plain, given = optimizers.SGD(**options, momentum=0.9), optimizers.SGD(**options, momentum=0.9)
    found = assert_trains_as(plain, RateFactors(given, NEARLY_ONE))
    if "use_ema" in options:  # as `fit` does at its end
        before = found.get_weights()[0]
        found.optimizer.finalize_variable_values(found.trainable_variables)
        assert abs(found.get_weights()[0] - before).max() > 1e-3


def test_a_learning_rate_that_is_set_later_counts():
    def halve(optimizer):
        _, model = train(optimizer, 2)
        assert float(optimizer.learning_rate) == pytest.approx(0.1)
        optimizer.learning_rate = 0.05
        return train(optimizer, 3, model)[0]

    expected = halve(optimizers.SGD(0.1))
    np.testing.assert_allclose(halve(RateFactors(optimizers.SGD(0.1), NEARLY_ONE)), expected, rtol=1e-4)


def test_a_saved_model_goes_on_equally(tmp_path):
    _, model = train(RateFactors(optimizers.AdamW(**TOGETHER), FACTORS), 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, RateFactors)
    assert dict(loaded.optimizer.factors) == FACTORS
    for x, y in zip(X[3:6], Y[3:6], strict=True):
        loaded.train_on_batch(x, y)
        model.train_on_batch(x, y)
    found = [*loaded.weights, *loaded.optimizer.variables]
    for weights in zip(found, [*model.weights, *model.optimizer.variables], strict=True):
        np.testing.assert_array_equal(*map(to_numpy, weights))


def test_a_config_without_the_order_of_the_variables_is_refused():
    config = RateFactors(optimizers.Adam(0.1), FACTORS).get_config()
    assert config.pop("order") == "keras"
    with pytest.raises(ValueError, match=r"`config` must have the `order` .*compile=False.*order=None"):
        RateFactors.from_config(config)


def test_a_config_names_the_class_that_every_backend_has():
    config = keras.saving.serialize_keras_object(RateFactors(optimizers.Adam(0.5), [2.0], name="mine"))
    assert config["registered_name"] == "initx>RateFactors"
    assert config["config"]["optimizer"]["module"] == "keras.optimizers"
    assert config["config"]["optimizer"]["class_name"] == "Adam"
    again = keras.saving.deserialize_keras_object(config)
    assert (float(again.learning_rate), list(again.factors), again.name) == (0.5, [2.0], "mine")


def variables_and_gradients():
    variables = [keras.Variable([[1.0, 2.0]], name="kernel"), keras.Variable([3.0, 4.0], name="bias")]
    return variables, [keras.ops.ones((1, 2)), keras.ops.ones((2,))]


@pytest.mark.every_backend
def test_a_loop_of_ones_own_applies_gradients_with_all_options_together():
    options = {**TOGETHER, "learning_rate": optimizers.schedules.ExponentialDecay(0.5, 1, 0.8)}
    variables, gradients = variables_and_gradients()
    optimizer = RateFactors(optimizers.SGD(**options), {"bias": 1 + 2.0**-20})
    if BACKEND == "jax":
        import jax

        optimizer.build(variables)
        step = jax.jit(optimizer.stateless_apply)
        values, state = [variable.value for variable in variables], [variable.value for variable in optimizer.variables]
        for _ in range(4):
            values, state = step(state, gradients, values)
        assert to_numpy(variables[0].value).tolist() == [[1, 2]]
        for variable, value in zip([*variables, *optimizer.variables], [*values, *state], strict=True):
            variable.assign(value)
    else:
        optimizer.apply(gradients, variables)
        for _ in range(3):
            optimizer.apply(gradients)
    assert int(optimizer.iterations) == 2
    # What `SGD` itself gives on each backend.
    np.testing.assert_allclose(to_numpy(variables[0].value), [[0.882352, 1.830064]], rtol=1e-5)
    np.testing.assert_allclose(to_numpy(variables[1].value), [2.777776, 3.725488], rtol=1e-5)


@pytest.mark.release_backends
def test_a_weight_without_a_gradient_is_left_and_its_steps_are_counted():
    def left_at_first(optimizer):
        variables, gradients = variables_and_gradients()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras', that there is none
            optimizer.apply([gradients[0], None], variables)
        optimizer.apply(gradients, variables)
        return [to_numpy(variable.value) for variable in variables]

    expected = left_at_first(optimizers.Adam(0.1))
    found = left_at_first(RateFactors(optimizers.Adam(0.1), {"bias": 1 + 2.0**-20}))
    for values in zip(found, expected, strict=True):
        np.testing.assert_allclose(*values, rtol=1e-5)


def test_weights_are_excluded_from_decay():
    variables, gradients = variables_and_gradients()
    optimizer = RateFactors(optimizers.AdamW(0.1, weight_decay=0.5), {"kernel": 0.25, "bias": 0.5})
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([keras.ops.zeros_like(gradient) for gradient in gradients], variables)
    np.testing.assert_allclose(to_numpy(variables[0].value), [[0.95, 1.9]], rtol=1e-6)
    np.testing.assert_array_equal(to_numpy(variables[1].value), [3, 4])


def test_weights_that_the_optimizer_excludes_from_decay_stay_excluded():
    variables, gradients = variables_and_gradients()
    given = optimizers.AdamW(0.1, weight_decay=0.5)
    given.exclude_from_weight_decay(var_list=[variables[1]])
    optimizer = RateFactors(given, {"kernel": 0.25})
    optimizer.apply([keras.ops.zeros_like(gradient) for gradient in gradients], variables)
    np.testing.assert_allclose(to_numpy(variables[0].value), [[0.95, 1.9]], rtol=1e-6)
    np.testing.assert_array_equal(to_numpy(variables[1].value), [3, 4])


def test_the_first_pattern_counts_and_the_name_of_the_model_may_be_given():
    model = network()
    optimizer = RateFactors(optimizers.SGD(1.0), {"model/first/*": 2.0, "*kernel": 3.0})
    optimizer.build(model.trainable_variables)
    before = [to_numpy(variable.value).copy() for variable in model.trainable_variables]
    optimizer.apply([keras.ops.ones_like(variable.value) for variable in model.trainable_variables])
    changes = [
        float((value - to_numpy(variable.value)).mean())
        for value, variable in zip(before, model.trainable_variables, strict=True)
    ]
    np.testing.assert_allclose(changes, [2, 2, 3, 1, 3, 1], rtol=1e-6)


@pytest.mark.rare
@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="only JAX has these meshes")
@needs_keras("3.15", "trains a sharded model on batches without sample weights")
def test_sharded_weights_train_as_others():
    expected, _ = train(RateFactors(optimizers.Adam(0.01, global_clipnorm=0.1), FACTORS), 3)
    layout_map = distribution.LayoutMap(mesh_of((1, 2)))
    layout_map[".*first/kernel"] = (None, "units")
    with distribution.ModelParallel(layout_map=layout_map, batch_dim_name="inputs").scope():
        losses, model = train(RateFactors(optimizers.Adam(0.01, global_clipnorm=0.1), FACTORS), 3)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    moments = [variable for variable in model.optimizer.variables if "first_kernel" in variable.path]
    assert [len(variable.value.sharding.device_set) for variable in moments] == [2, 2]


@pytest.mark.rare
@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")
def test_replicas_train_as_one():
    import tensorflow as tf

    losses = []
    for scope in (contextlib.nullcontext(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()):
        with scope:
            model = network()
            model.compile(RateFactors(optimizers.Adam(0.01), FACTORS), "mse")
        fits = [model.fit(x, y, batch_size=16, verbose=0) for x, y in zip(X[:3], Y[:3], strict=True)]
        losses.append([fit.history["loss"][0] for fit in fits])
    np.testing.assert_allclose(*losses, rtol=1e-5)


WITHIN = {"alone": lambda optimizer: optimizer, "scaled": optimizers.LossScaleOptimizer}


@pytest.mark.parametrize(
    ("name", "within"),
    [("AdamW", "alone"), pytest.param("Nadam", "scaled", marks=pytest.mark.every_backend)],
)
def test_it_has_the_variables_of_the_optimizer_that_it_is_made_from(name, within):
    def shapes(wrap):
        optimizer = WITHIN[within](wrap(getattr(optimizers, name)(SCHEDULE, gradient_accumulation_steps=2)))
        optimizer.build(variables_and_gradients()[0])
        return [variable.shape for variable in optimizer.variables]

    expected = shapes(lambda plain: plain)
    if (name, within) == ("Nadam", "scaled"):
        expected.append(())  # the product of the momenta, which Keras loses
    assert shapes(lambda plain: RateFactors(plain, {"bias": 0.5})) == expected


def test_a_pickle_or_a_copy_is_one_that_was_not_used_as_of_keras():
    variables, gradients = variables_and_gradients()
    optimizer = RateFactors(optimizers.Adam(SCHEDULE, name="mine"), {"bias": 0.5})
    optimizer.apply(gradients, variables)
    for again in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert isinstance(again, optimizers.Adam)
        assert not again.built
        assert again.get_config() == optimizer.get_config()


@keras.saving.register_keras_serializable("tests")
class Signed(optimizers.Optimizer):
    """An optimizer of a user: the sign of the gradient, and a setting of its own."""

    def __init__(self, learning_rate=0.1, *, strength=1.0, **options):
        super().__init__(learning_rate, **options)
        self.strength = strength

    def update_step(self, gradient, variable, learning_rate):
        step = keras.ops.cast(learning_rate * self.strength, gradient.dtype) * keras.ops.sign(gradient)
        self.assign_sub(variable, step)

    def get_config(self):
        return {**super().get_config(), "strength": self.strength}


def test_an_optimizer_of_a_user_has_factors_and_is_saved(tmp_path):
    variables, gradients = variables_and_gradients()
    RateFactors(Signed(strength=2.0), {"bias": 0.5}).apply(gradients, variables)
    np.testing.assert_allclose(to_numpy(variables[0].value), [[0.8, 1.8]], rtol=1e-6)
    np.testing.assert_allclose(to_numpy(variables[1].value), [2.9, 3.9], rtol=1e-6)
    _, model = train(RateFactors(Signed(strength=2.0), FACTORS), 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, Signed)
    for each in (model, loaded):
        each.train_on_batch(X[2], Y[2])
    for weights in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(*weights)


@keras.saving.register_keras_serializable("tests")
class TakesItsRate(optimizers.SGD):
    """An optimizer of a user that takes the learning rate from itself, in a method of its own."""

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, self.step_of(gradient))

    def step_of(self, gradient):
        return self.learning_rate * keras.ops.sign(gradient)


@keras.saving.register_keras_serializable("tests")
class Reversed(optimizers.SGD):
    """An optimizer of a user that changes the gradients, and leaves the steps to Keras."""

    def apply(self, grads, trainable_variables=None):
        super().apply([-gradient for gradient in grads], trainable_variables)


@pytest.mark.every_backend
@pytest.mark.parametrize(("cls", "sign"), [(TakesItsRate, 1), (Reversed, -1)])
def test_factors_count_however_a_class_of_a_user_gets_its_rate(cls, sign):
    variables, gradients = variables_and_gradients()
    optimizer = RateFactors(cls(0.1), {"bias": 0.5})
    optimizer.apply(gradients, variables)
    np.testing.assert_allclose(to_numpy(variables[0].value), [[1 - 0.1 * sign, 2 - 0.1 * sign]], rtol=1e-6)
    np.testing.assert_allclose(to_numpy(variables[1].value), [3 - 0.05 * sign, 4 - 0.05 * sign], rtol=1e-6)
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
