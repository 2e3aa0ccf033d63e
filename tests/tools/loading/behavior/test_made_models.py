"""Without a model, `loading` watches the models that are made in its block."""

import gc
import warnings

import keras
import numpy as np
import pytest
from modes import needs_int4, to_numpy

import keras_initx
from keras_initx import weights_digest
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._unwritten_mark import count_unwritten

layers = keras.layers


def network(classes=3, name=None):
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(5, "relu", name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(classes, name="head"),
        ],
        name=name,
    )


def loaded_from(source, classes=3, left_out=("head",)):
    """Build a model and load it, as a function of one's own does."""
    model = network(classes)
    for layer in model.layers:
        if layer.name not in left_out:
            layer.set_weights(source.get_layer(layer.name).get_weights())
    return model


def values(model):
    return {weight.path: to_numpy(weight.variable) for weight in Inventory(model).weights}


HEAD = ["head/kernel", "head/bias"]


def nothing_is_left_behind():
    """Return whether weights that are made now have the values of their initializers."""
    layer = layers.Dense(2)
    layer.build((None, 3))
    return not any(count_unwritten(one.value).unwritten for one in layer.weights)


@pytest.mark.parametrize("of_file", [False, True])
def test_what_a_made_model_misses_has_the_values_of_a_plan(tmp_path, of_file):
    source = network()
    plan = keras_initx.initialize(source, {"head/kernel": "initx.orthogonal"}, seed=5)
    plan.save(tmp_path / "plan.json")
    with keras_initx.loading(rules=tmp_path / "plan.json" if of_file else plan) as loaded:
        model = loaded_from(source)
    assert loaded.missed == HEAD
    assert loaded.seed == 5
    assert weights_digest(model) == weights_digest(source)


@pytest.mark.release_backends
def test_a_function_that_builds_and_loads_is_watched_and_the_rest_has_the_values_of_initialize():
    source = network(10)
    keras_initx.initialize(source, seed=5)
    with keras_initx.loading(seed=1) as loaded:
        model = loaded_from(source)
    assert loaded.missed == HEAD
    assert loaded.models == [model]
    twin = network()
    keras_initx.initialize(twin, seed=1)
    expected = {path: values(twin if path in HEAD else source)[path] for path in values(model)}
    for path, array in values(model).items():
        np.testing.assert_array_equal(array, expected[path])
    assert nothing_is_left_behind()


def test_rules_say_what_is_drawn_in_place_of_what_was_not_loaded():
    source = network(10)
    with keras_initx.loading(rules={"head/kernel": "ones"}, seed=1) as loaded:
        model = loaded_from(source)
    assert [row.detail for row in loaded.problems] == ["Ones()", "Zeros()"]
    assert np.unique(to_numpy(model.get_layer("head").kernel)).tolist() == [1]


def test_a_model_that_loads_nothing_has_the_values_of_initialize():
    with keras_initx.loading(seed=4) as loaded:
        model = network()
    assert len(loaded.missed) == len(loaded.rows) == 8
    twin = network()
    keras_initx.initialize(twin, seed=4)
    assert weights_digest(model) == weights_digest(twin)


@pytest.mark.every_backend
def test_zeros_that_are_loaded_over_zeros_are_loaded():
    with keras_initx.loading() as loaded:
        model = network()
        for weight in model.weights:
            weight.assign(np.zeros(weight.shape))
    assert loaded.ok
    assert loaded.summary == "All 8 weights were written."


@pytest.mark.release_backends
def test_a_model_is_loaded_from_a_file_with_its_optimizer(tmp_path):
    source = network()
    source.compile("adam", "mse")
    source.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    source.save(tmp_path / "net.keras")
    with keras_initx.loading() as loaded:
        model = keras.saving.load_model(tmp_path / "net.keras")
    assert loaded.ok
    assert len(loaded.rows) == 8
    for one, other in zip(model.optimizer.variables, source.optimizer.variables, strict=True):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


def test_the_file_of_another_head_misses_the_head(tmp_path):
    network(10).save_weights(tmp_path / "ten.weights.h5")

    def load():
        model = network()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that of Keras, which names the layer
            model.load_weights(tmp_path / "ten.weights.h5", skip_mismatch=True)
        return model

    with keras_initx.loading() as loaded:
        model = load()
    assert (loaded.models, loaded.missed) == ([model], HEAD)


def test_several_models_are_named():
    source = network(10)
    with keras_initx.loading(seed=0) as loaded:
        first = loaded_from(source)
        second = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="last")], name="second")
    assert loaded.models == [first, second]
    assert loaded.missed == [*(f"{first.name}/{path}" for path in HEAD), "second/last/kernel", "second/last/bias"]
    twin = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="last")], name="second")
    keras_initx.initialize(twin, seed=0)
    assert weights_digest(second) == weights_digest(twin)


def test_rules_for_several_models_are_refused_at_the_end_and_their_weights_are_drawn():
    made = []
    message = r"`rules` must be `None` if several models .* Received: rules, and the models 'a', 'b'"
    with pytest.raises(ValueError, match=message), keras_initx.loading(rules={"*": "zeros"}):
        made += [keras.Sequential([keras.Input((4,)), layers.Dense(2, name="d")], name=name) for name in "ab"]
    for model in made:
        assert values(model)["d/kernel"].any()
        assert all(np.isfinite(array).all() for array in values(model).values())


def test_a_model_inside_another_and_a_view_of_one_are_no_models_of_their_own():
    with keras_initx.loading() as loaded:
        inside = network()
        model = keras.Sequential([keras.Input((4,)), inside, layers.Dense(2, name="last")])
        view = keras.Model(model.inputs, model.layers[0].output)
    assert loaded.models == [model]
    assert len(view.weights) < len(loaded.rows) == len(model.weights)


@pytest.mark.rare
def test_models_that_share_a_layer_list_its_weights_once():
    with keras_initx.loading(seed=0) as loaded:
        shared = layers.Dense(4, name="shared")
        models = [
            keras.Sequential([keras.Input((4,)), shared, layers.Dense(2, name=name)], name=name) for name in ("a", "b")
        ]
    assert loaded.models == models
    names = [f"a/shared/{one}" for one in ("kernel", "bias")]
    assert [row.path for row in loaded.rows if "shared" in row.path] == names
    assert np.isfinite(to_numpy(shared.kernel)).all()


def test_a_model_that_nobody_has_any_more_is_passed_over():
    def build():
        network(7)
        gc.disable()  # it is left to the block
        return network(3)

    try:
        with keras_initx.loading() as loaded:
            model = build()
    finally:
        gc.enable()
    assert loaded.models == [model]


def test_a_model_whose_making_fails_is_passed_over():
    class Failing(keras.Model):
        def __init__(self):
            raise ZeroDivisionError

    with keras_initx.loading() as loaded:
        kept = Failing.__new__(Failing)
        model = network()
    assert loaded.models == [model]
    assert kept is not None


def test_a_layer_in_no_model_is_listed_with_the_values_of_its_initializer():
    with keras_initx.loading() as loaded:
        layer = layers.Dense(2, kernel_initializer="ones", name="alone")
        layer.build((None, 3))
    assert loaded.missed == ["alone/kernel", "alone/bias"]
    assert loaded.rows[0].detail == "in no model, as its layer has made it"
    assert np.unique(to_numpy(layer.kernel)).tolist() == [1]


@pytest.mark.every_backend
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_after_an_error_weights_have_the_values_of_their_initializers(error):
    made = []

    def fail():
        with keras_initx.loading(seed=0) as loaded:
            made.append(network())
            made.append(loaded)
            raise error

    keras.utils.set_random_seed(3)
    with pytest.raises(error):
        fail()
    model, loaded = made
    assert repr(loaded) == "<Loaded: not known yet>"
    keras.utils.set_random_seed(3)
    assert weights_digest(model) == weights_digest(network())
    assert nothing_is_left_behind()


def test_rules_that_match_nothing_are_refused_at_the_end_and_weights_are_drawn():
    made = []
    message = r"must match a weight. Received: 'heads/\*'"
    with pytest.raises(ValueError, match=message), keras_initx.loading(rules={"heads/*": "zeros"}):
        made.append(network())
    assert all(np.isfinite(array).all() for array in values(made[0]).values())


def test_rules_in_place_of_a_model_are_refused():
    with pytest.raises(TypeError, match="Pass rules as `rules=`"), keras_initx.loading({"*": "zeros"}):
        raise AssertionError("the block was entered")


@pytest.mark.parametrize("has_model", [True, False])
def test_strict_raises_after_the_block_is_complete(has_model):
    source = network(10)
    made = [network()] if has_model else []

    def load():
        with keras_initx.loading(made[0] if has_model else None, strict=True):
            if has_model:
                for layer in made[0].layers[:2]:
                    layer.set_weights(source.get_layer(layer.name).get_weights())
            else:
                made.append(loaded_from(source))

    with pytest.raises(ValueError, match=r"missed \['head/kernel', 'head/bias'\], not known \[\]"):
        load()
    assert all(np.isfinite(array).all() for array in values(made[0]).values())


def test_strict_is_silent_where_all_was_loaded():
    source = network()
    with keras_initx.loading(strict=True) as loaded:
        model = loaded_from(source, left_out=())
    assert loaded.ok
    assert loaded.models == [model]


def test_what_an_inner_block_draws_is_written_for_the_outer_one():
    with keras_initx.loading() as outer:
        with keras_initx.loading(rules={"*": "zeros"}) as inner:
            model = network()
        last = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="last")], name="second")
    assert inner.missed == [row.path for row in inner.rows]
    assert {row.status for row in inner.rows} <= {"drawn", "left"}
    assert len(inner.rows) == len(model.weights)
    assert outer.missed == ["second/last/kernel", "second/last/bias"]
    assert outer.models == [model, last]


def test_layers_of_each_kind_have_the_values_of_initialize():
    def build():
        inputs = keras.Input((6, 4))
        x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(inputs)
        x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
        x = layers.Conv1D(4, 3, name="conv")(x)
        x = layers.Normalization(name="standard")(x)
        return keras.Model(inputs, layers.LSTM(2, bias_initializer="initx.lstm_forget_bias", name="last")(x))

    with keras_initx.loading(seed=2) as loaded:
        model = build()
    twin = build()
    keras_initx.initialize(twin, seed=2)
    assert weights_digest(model) == weights_digest(twin)
    left = [row.path for row in loaded.rows if row.status == "left"]
    assert left == ["standard/mean", "standard/variance"]
    x = np.random.default_rng(0).normal(size=(2, 6, 4)).astype("float32")
    np.testing.assert_array_equal(to_numpy(model(x)), to_numpy(twin(x)))


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "float16"])
def test_models_in_16_bits_are_watched(dtype):
    keras.config.set_dtype_policy(dtype)
    try:
        source = network(10)
        with keras_initx.loading(seed=1) as loaded:
            model = loaded_from(source)
    finally:
        keras.config.set_dtype_policy("float32")
    assert (loaded.models, loaded.missed, loaded.not_known) == ([model], HEAD, [])


@pytest.mark.every_backend
def test_a_model_that_fit_builds_is_watched():
    with keras_initx.loading(seed=0) as loaded:
        model = keras.Sequential([layers.Dense(2, name="head", kernel_initializer="zeros")])
        model.compile("sgd", "mse")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.predict(np.ones((2, 3)), verbose=0)
        model.layers[0].kernel.assign(np.ones((3, 2)))
    if keras.backend.backend() == "tensorflow":
        # A program makes them, when it first runs.
        assert loaded.not_known == ["head/kernel", "head/bias"]
    else:
        assert loaded.missed == ["head/bias"]


def test_an_inner_block_knows_what_was_written():
    with keras_initx.loading() as outer, keras_initx.loading(seed=0) as inner:
        model = keras.Sequential([keras.Input((3,)), layers.Dense(3, name="one"), layers.Dense(2, name="two")])
        model.layers[0].set_weights([np.ones((3, 3)), np.ones(3)])
    assert inner.missed == ["two/kernel", "two/bias"]
    assert (inner.not_known, outer.missed) == ([], [])


def test_a_layer_that_is_older_than_the_block_is_named_as_such():
    backbone = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="enc")], name="backbone")
    with keras_initx.loading() as loaded:
        keras_initx_model = keras.Sequential([keras.Input((6,)), backbone, layers.Dense(2, name="head")])
    assert loaded.models == [keras_initx_model]
    assert loaded.not_known == ["backbone/enc/kernel", "backbone/enc/bias"]
    assert loaded.rows[0].detail == "made before the block: pass its model"


def test_models_of_one_name_are_numbered():
    with keras_initx.loading() as loaded:
        models = [keras.Sequential([keras.Input((3,)), layers.Dense(3, name="hid")], name="a") for _ in range(2)]
        models[0].set_weights([np.ones(weight.shape) for weight in models[0].weights])
    assert loaded.missed == ["a (2)/hid/kernel", "a (2)/hid/bias"]


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("kind", ["int8", pytest.param("int4", marks=[needs_int4, pytest.mark.rare])])
def test_no_variable_is_listed_that_no_model_has_any_more(kind):
    with keras_initx.loading() as loaded:
        model = keras.Sequential(
            [keras.Input((8,)), layers.Dense(8, name="hid"), layers.Dense(2, name="head")], name="m"
        )
        model.layers[0].set_weights([np.ones((8, 8)), np.ones(8)])
        for layer in model.layers:
            layer.quantize(kind)
    assert sorted(f"m/{row.path}" for row in loaded.rows) == sorted(weight.path for weight in model.weights)
    assert loaded.missed == ["head/bias"]
