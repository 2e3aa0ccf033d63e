"""`loading` without a model, in rare situations: threads, errors, old files, built-in models, adapters."""

import threading
import warnings

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx import weights_digest
from keras_initx.inspection._inventory import Inventory

TIMEOUT = 60  # seconds until a thread that waits for another one fails
REPLACED = {name: vars(keras.Layer).get(name) for name in ("__new__", "add_weight")}


def network(classes=3, dtype="float32", **options):
    stack = [layers.Dense(5, "relu", name="hidden", dtype=dtype), layers.BatchNormalization(name="norm", dtype=dtype)]
    stack.append(layers.Dense(classes, name="head", dtype=dtype))
    return keras.Sequential([keras.Input((4,)), *stack], **options)


def check_nothing_is_left_behind():
    assert {name: vars(keras.Layer).get(name) for name in REPLACED} == REPLACED
    assert all(np.isfinite(to_numpy(weight)).all() for weight in network().weights)


def check_finite(model):
    for weight in model.weights:
        assert np.isfinite(to_numpy(weight).astype("float32")).all(), weight.path


HEAD = ["head/kernel", "head/bias"]


def loaded_but_for_the_head(source, model):
    for layer in source.layers[:2]:
        model.get_layer(layer.name).set_weights(layer.get_weights())
    return model


# Threads.


@pytest.mark.every_backend
def test_blocks_of_three_threads_that_end_crossed_have_their_own_models():
    source = network(10)
    inside, ends = threading.Barrier(3, timeout=TIMEOUT), [threading.Event() for _ in range(3)]
    found = {}

    def run(place, waits_for):
        with keras_initx.loading(seed=place) as loaded:
            model = network(name=f"net_{place}")
            inside.wait()
            if waits_for is not None:
                assert ends[waits_for].wait(TIMEOUT)
            loaded_but_for_the_head(source, model)
            late = keras.Sequential([keras.Input((2,)), layers.Dense(1, name="late")], name=f"late_{place}")
        found[place] = (loaded, model, late)
        ends[place].set()

    # The first that began ends first, while the others are inside.
    threads = [threading.Thread(target=run, args=(place, place - 1 if place else None)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 2]
    for place, (loaded, model, late) in found.items():
        assert loaded.models == [model, late]
        missed = [f"net_{place}/{path}" for path in HEAD]
        assert loaded.missed == [*missed, f"late_{place}/late/kernel", f"late_{place}/late/bias"]
        check_finite(model)
    check_nothing_is_left_behind()


def test_an_error_in_one_thread_leaves_the_block_of_another_as_it_is():
    source = network(10)
    has_failed, is_inside = threading.Event(), threading.Event()
    found = []

    def fail():
        try:
            with keras_initx.loading():
                found.append(network())
                assert is_inside.wait(TIMEOUT)
                raise ZeroDivisionError
        except ZeroDivisionError:
            has_failed.set()

    thread = threading.Thread(target=fail)
    thread.start()
    with keras_initx.loading(seed=0) as loaded:
        is_inside.set()
        assert has_failed.wait(TIMEOUT)
        model = loaded_but_for_the_head(source, network())
    thread.join()
    assert loaded.missed == HEAD
    for one in (model, *found):
        check_finite(one)
    check_nothing_is_left_behind()


# Errors.


class Failing(layers.Layer):
    """Fails in one of its methods, with what it has made until then."""

    def __init__(self, place, error):
        if place == "before init":
            raise error
        super().__init__(name="failing")
        self.place, self.error = place, error
        if place == "init":
            raise error

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 2), name="kernel")
        if self.place == "build":
            raise self.error
        if self.place == "initializer":
            self.add_weight((2,), name="bias", initializer=self.initializer)

    def initializer(self, shape, dtype=None):
        raise self.error

    def call(self, x):
        if self.place == "call":
            raise self.error
        return x @ self.kernel


PLACES = ("before init", "init", "build", "call", "in the block", "between")


@pytest.mark.every_backend
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("place", PLACES)
def test_an_error_or_an_interruption_leaves_nothing_behind(place, error):
    made = []

    def load():
        with keras_initx.loading(seed=0):
            made.append(network())
            if place == "between":
                made.append(layers.Dense(2))
                made[-1].build((None, 3))
            if place in ("in the block", "between"):
                raise error
            keras.Sequential([keras.Input((4,)), Failing(place, error)])

    keras.utils.set_random_seed(7)
    with pytest.raises(error):
        load()
    for one in made:
        check_finite(one)
    keras.utils.set_random_seed(7)
    assert weights_digest(made[0]) == weights_digest(network())
    check_nothing_is_left_behind()


@pytest.mark.every_backend
def test_an_initializer_that_fails_does_so_at_the_end_and_all_others_have_values():
    made = []

    def load():
        with keras_initx.loading(seed=0):
            made.append(network())
            made.append(keras.Sequential([keras.Input((4,)), Failing("initializer", ZeroDivisionError)]))
            made.append(network())

    with pytest.raises(ZeroDivisionError):
        load()
    for one in (made[0], made[2]):
        check_finite(one)
    check_nothing_is_left_behind()


@pytest.mark.parametrize("place", ["build", "call"])
def test_an_error_that_the_block_catches_itself_leaves_the_model_that_is_made_then(place):
    with keras_initx.loading(seed=0) as loaded:
        with pytest.raises(ZeroDivisionError):
            keras.Sequential([keras.Input((4,)), Failing(place, ZeroDivisionError)])
        model = network()
    assert loaded.models[-1] is model
    check_finite(model)
    check_nothing_is_left_behind()


# Files.


def as_keras_2(source, path):
    """Write the weights of a `Sequential` as Keras 2 has: by layers, with whole names."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name for layer in source.layers]
        file.attrs["backend"], file.attrs["keras_version"] = "tensorflow", "2.15.0"
        for layer in source.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = names
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = to_numpy(weight)
    return path


@pytest.mark.every_backend
@pytest.mark.parametrize("classes", [3, 10])
def test_a_file_of_keras_2_that_is_loaded_by_name(classes, tmp_path):
    source = network(classes)
    path = str(as_keras_2(source, tmp_path / "old.h5"))

    def load():
        model = network()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that of Keras, which names the layer
            model.load_weights(path, by_name=True, skip_mismatch=True)
        return model

    with keras_initx.loading(seed=0) as loaded:
        model = load()
    assert loaded.missed == ([] if classes == 3 else HEAD)
    np.testing.assert_array_equal(to_numpy(model.layers[0].kernel), to_numpy(source.layers[0].kernel))
    check_finite(model)


@pytest.mark.parametrize("file", ["a.h5", "a.keras"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_saved_model_is_loaded_whole(file, dtype, tmp_path):
    source = network(dtype=dtype)
    source.compile("adam", keras.losses.MeanSquaredError())
    source.optimizer.build(source.trainable_variables)
    source.save(tmp_path / file)
    with keras_initx.loading(strict=True) as loaded:
        model = keras.saving.load_model(tmp_path / file)
    assert (loaded.models, loaded.missed, loaded.not_known) == ([model], [], [])
    assert weights_digest(model) == weights_digest(source)


# Built-in models.


def mobile_net(weights, **options):
    sizes = {"input_shape": (32, 32, 3), "alpha": 0.35}
    return keras.applications.MobileNetV2(weights=weights, **sizes, **options)


@pytest.fixture(scope="module")
def of_ten_classes(tmp_path_factory):
    """Return a built-in model with a head of ten classes, and files of the whole and of what is before the head."""
    folder = tmp_path_factory.mktemp("applications")
    whole = mobile_net(None, classes=10)
    whole.save_weights(folder / "whole.weights.h5")
    body = mobile_net(None, include_top=False, pooling="avg")
    body.set_weights(whole.get_weights()[: len(body.weights)])
    body.save_weights(folder / "body.weights.h5")
    return whole, folder


@pytest.mark.every_backend
def test_a_built_in_model_is_loaded_from_its_file(of_ten_classes):
    whole, folder = of_ten_classes
    with keras_initx.loading(strict=True) as loaded:
        model = mobile_net(str(folder / "whole.weights.h5"), classes=10)
    assert loaded.models == [model]
    assert len(loaded.rows) == len(Inventory(whole).weights)
    assert weights_digest(model) == weights_digest(whole)


@pytest.mark.every_backend
def test_a_new_head_on_a_built_in_model_is_missed(of_ten_classes):
    whole, folder = of_ten_classes
    with keras_initx.loading(rules={"new/*": "zeros"}, seed=0) as loaded:
        body = mobile_net(str(folder / "body.weights.h5"), include_top=False, pooling="avg")
        model = keras.Model(body.input, layers.Dense(3, name="new")(body.output))
    assert (loaded.models, loaded.missed) == ([model], ["new/kernel", "new/bias"])
    for one, other in zip(body.weights, whole.weights, strict=False):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


def test_a_built_in_model_without_weights_misses_all(of_ten_classes):
    with keras_initx.loading(seed=3) as loaded:
        model = mobile_net(None, classes=10)
    assert len(loaded.missed) == len(loaded.rows)
    twin = mobile_net(None, classes=10)
    keras_initx.initialize(twin, seed=3)
    assert weights_digest(model) == weights_digest(twin)


# Adapters.


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("is_first_enabled", [True, False])
def test_factors_of_lora_beside_loaded_weights_are_missed(is_first_enabled, dtype, tmp_path):
    network(dtype=dtype).save_weights(tmp_path / "base.weights.h5")
    with keras_initx.loading(seed=0) as loaded:
        model = network(dtype=dtype)
        if is_first_enabled:
            model.layers[0].enable_lora(2)
        model.load_weights(tmp_path / "base.weights.h5")
        if not is_first_enabled:
            model.layers[0].enable_lora(2)
    factors = ["hidden/lora_kernel_a", "hidden/lora_kernel_b"]
    assert (loaded.missed, loaded.not_known) == (factors, [])
    check_finite(model)
    assert not to_numpy(model.layers[0].lora_kernel_b).astype("float32").any()


def test_factors_of_lora_that_are_loaded_are_not_missed(tmp_path):
    source = network()
    source.layers[0].enable_lora(2)
    for weight in source.layers[0].weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    arrays = source.layers[0].get_weights()
    base = network()

    def load():
        model = loaded_but_for_the_head(base, network())
        model.layers[0].enable_lora(2)
        model.layers[0].set_weights(arrays)
        return model

    with keras_initx.loading(seed=0) as loaded:
        model = load()
    assert (loaded.models, loaded.missed) == ([model], HEAD)
