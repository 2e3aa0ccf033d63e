"""One seed, one set of weights, on one device or sharded over many."""

import keras
import numpy as np
import pytest
from asked import seen
from cases import CASES, FIRST_CASES
from meshes import assert_cut, compile_sharded, distribution, fits, layout_of, mesh_of
from modes import BACKEND, to_numpy

import keras_initx
from keras_initx import weights_digest
from keras_initx.initializers._sharding import is_exact
from keras_initx.inspection._inventory import Inventory

only_jax = pytest.mark.skipif(BACKEND != "jax", reason="Keras shards variables on JAX only")
only_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")

# Independent draws, chosen inputs, frames.
OF_EACH_KIND = [FIRST_CASES[cls] for cls in (keras_initx.RandomNormal, keras_initx.Sparse, keras_initx.Orthogonal)]
# Of parts that are drawn, and of a number.
OTHERS = [FIRST_CASES[cls] for cls in (keras_initx.Concatenated, keras_initx.GRUUpdateBias)]


def fitting(case, parts):
    """Return a row for a test: the case, the first of its shapes that fits, and the parts.

    `parts` says into how many the last two axes of a kernel are cut, inputs and units; one device for each part.
    """
    shape = next(shape for shape in case.shapes if fits(shape, parts))
    return pytest.param(case, shape, parts, id=f"{case}-{shape}-{parts}")


def assert_same(actual, expected, exact=True):
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=0, atol=0 if exact else 1e-5)


@pytest.mark.every_backend
@only_jax
@pytest.mark.parametrize(
    ("case", "shape", "parts"),
    [
        *(fitting(case, (2, 4)) for case in [*OF_EACH_KIND, *OTHERS]),
        *(fitting(OF_EACH_KIND[0], parts) for parts in [(1, 1), (8, 1), (1, 8)]),
    ],
)
def test_a_sharded_variable_has_the_values_of_a_whole_one(case, shape, parts):
    variable = keras.Variable(case.make(), shape, "float32", layout=layout_of(parts, len(shape)))
    assert_cut(variable.value, parts)
    assert_same(variable, case.make()(shape))


@pytest.mark.every_backend
@only_jax
@pytest.mark.parametrize(  # the other kinds are compiled in the tests of large variables
    ("case", "shape", "parts"), [fitting(case, (2, 4)) for case in [OF_EACH_KIND[2], OTHERS[0]]]
)
def test_a_compiled_initializer_makes_shards_of_the_same_values(case, shape, parts):
    value = compile_sharded(case.make(), shape, layout_of(parts, len(shape)))()
    assert_cut(value, parts)
    assert_same(value, case.make()(shape), case.exact)


def test_only_exact_initializers_are_made_by_each_process_for_itself():
    assert [str(case) for case in CASES if is_exact(case.make()) and not case.exact] == []
    assert not is_exact(keras_initx.Scaled(keras_initx.Orthogonal(), 0.5))


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND == "jax", reason="which has layouts")
def test_a_layout_is_refused_where_keras_has_none():
    with pytest.raises(ValueError, match=r"`layout` must be `None` with .*\. Received: layout=1"):
        keras_initx.HeNormal()((2, 3), layout=1)


@pytest.mark.every_backend
@only_jax
def test_a_layout_may_be_one_of_jax():
    layout, initializer = layout_of((2, 4)).backend_layout, keras_initx.RandomNormal(seed=1)
    variable = keras.Variable(initializer, (16, 8), "float32", layout=layout)
    assert variable.value.sharding == layout
    assert np.array_equal(variable.value, initializer((16, 8)))


def make_model():
    keras.utils.set_random_seed(7)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, kernel_initializer="initx.he_normal", name="conv"),
            layers.Reshape((-1, 8)),
            layers.LSTM(
                16,
                kernel_initializer="initx.glorot_uniform",
                recurrent_initializer=keras_initx.Orthogonal(blocks=4),
                bias_initializer="initx.lstm_forget_bias",
                name="lstm",
            ),
            layers.Dense(64, kernel_initializer="initx.sparse", bias_initializer="initx.relu_bias", name="hidden"),
            layers.Dense(8, kernel_initializer="initx.truncated_normal", name="out"),
        ]
    )


@pytest.mark.every_backend
@only_jax
def test_every_device_of_a_data_parallel_model_has_the_weights_of_a_plain_one():
    expected = make_model().get_weights()
    with distribution.DataParallel(devices=distribution.list_devices("cpu")).scope():
        model = make_model()
    for variable, weights in zip(model.weights, expected, strict=True):
        assert len(variable.value.addressable_shards) == 8
        for shard in variable.value.addressable_shards:
            assert_same(shard.data, weights)


@pytest.mark.every_backend
@only_jax
def test_a_model_parallel_model_has_the_weights_of_a_plain_one():
    expected = make_model().get_weights()
    layout_map = distribution.LayoutMap(mesh_of((1, 8)))
    layout_map[".*conv/kernel"] = (None, None, None, "units")
    layout_map[".*(lstm|hidden|out).*kernel"] = (None, "units")
    layout_map[".*bias"] = ("units",)
    with distribution.ModelParallel(layout_map=layout_map).scope():
        model = make_model()
    for variable, weights in zip(model.weights, expected, strict=True):
        assert_cut(variable.value, (1, 8))
        assert_same(variable, weights)


@pytest.mark.every_backend
@only_tensorflow
def test_every_replica_of_a_mirrored_model_has_the_weights_of_a_plain_one():
    import tensorflow as tf

    expected = make_model().get_weights()
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = make_model()
    for variable, weights in zip(model.weights, expected, strict=True):
        assert len({replica.device for replica in variable.value.values}) == 2
        for replica in variable.value.values:
            assert_same(replica, weights)


@pytest.mark.every_backend
@only_tensorflow
def test_a_mirrored_model_is_initialized_and_diagnosed_as_a_plain_one():
    import tensorflow as tf

    x, y = np.random.default_rng(0).normal(size=(8, 6)).astype("float32"), np.zeros((8, 4), "float32")

    def found():
        hidden, last = keras.layers.Dense(8, "relu", name="hidden"), keras.layers.Dense(4, name="last")
        model = keras.Sequential([keras.Input((6,)), hidden, last])
        keras_initx.initialize(model, seed=3)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        layers = keras_initx.diagnose(model, x, y, loss=loss).rows
        output = seen(model, x, y, loss=loss)["last"].output
        return weights_digest(model), [*(layer.gradient.norm for layer in layers), output.loss]

    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        digest, measured = found()
    expected, of_plain = found()
    assert digest == expected
    np.testing.assert_allclose(measured, of_plain, rtol=1e-5)


@pytest.mark.every_backend
@only_tensorflow
def test_what_loading_misses_is_drawn_in_every_replica():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = make_model()
        with keras_initx.loading(model, seed=3) as loaded:
            model.layers[-1].kernel.assign(np.ones(model.layers[-1].kernel.shape))
    plan = keras_initx.initialize(model, seed=3, dry_run=True)
    assert len(loaded.missed) == len(model.weights) - 1
    for weight in Inventory(model).weights:
        expected = plan.draw(weight.path) if weight.path in loaded.missed else np.ones(weight.shape)
        for replica in weight.variable.value.values:
            assert_same(replica, expected)


@pytest.mark.every_backend
@only_tensorflow
def test_a_generator_advances_once_for_all_replicas():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        generator = keras.random.SeedGenerator(11)
        initializer = keras_initx.Sparse(seed=generator)
        variables = [keras.Variable(initializer, (30, 4), "float32") for _ in range(2)]
    assert to_numpy(generator.state.value).tolist() == [11, 2]
    again = keras_initx.Sparse(seed=keras.random.SeedGenerator(11))
    for variable in variables:
        expected = again((30, 4))
        for replica in variable.value.values:
            assert_same(replica, expected)
