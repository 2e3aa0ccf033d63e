"""One seed, one set of weights, on one device or sharded over many."""

import functools
import itertools
import math
import pathlib
import re
import runpy

import keras
import numpy as np
import pytest
from cases import CASES, FIRST_CASES
from meshes import distribution, fits, layout_of, mesh_of
from modes import BACKEND, needs_keras, to_numpy

import keras_initx
from keras_initx.backends import backend

only_jax = pytest.mark.skipif(BACKEND != "jax", reason="Keras shards variables on JAX only")
only_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")

# Into how many parts the last two axes of a kernel are cut, inputs and units; one device for each part.
ON_EIGHT = ((8, 1), (1, 8), (2, 4))
ON_TWO_AND_EIGHT = ((1, 2), (2, 4))
MESHES = ((1, 1), (2, 1), (1, 2), *ON_EIGHT)
# Keras compiles an initializer from 250 MiB on, counted once for each device.
LARGE = {1: (8192, 8192), 2: (8192, 4096), 8: (4096, 2048)}
COLLECTIVES = re.compile(r" (?:all-|collective-|reduce-scatter|ragged-all-)[\w-]*\(.*")

# Their elements do not depend on each other.
ELEMENTWISE = (
    keras_initx.RandomNormal(mean=1.0, seed=1),
    keras_initx.RandomUniform(seed=2),
    keras_initx.TruncatedNormal(seed=3),
    keras_initx.HeNormal(seed=4),
    keras_initx.VarianceScaling(mode="fan_avg", distribution="uniform", seed=5),
)
OTHER_CASES = [case for case in CASES if case not in FIRST_CASES.values()]
FEW_CONNECTIONS = keras_initx.Sparse(connections=10, seed=6)
MANY_CONNECTIONS = keras_initx.Sparse(connections=40, seed=7)


def fitting(meshes, cases=CASES, marks=()):
    """Return a row for each of `cases` and each of `meshes`, with the first of the case's shapes that fits."""
    return [
        pytest.param(case, shape, parts, marks=marks, id=f"{case}-{shape}-{parts}")
        for case, parts in itertools.product(cases, meshes)
        for shape in [shape for shape in case.shapes if fits(shape, parts)][:1]
    ]


def compile_sharded(initializer, shape, layout):
    """Compile as Keras does for large variables, whatever the size."""
    import jax

    jitted = jax.jit(initializer.__call__, out_shardings=layout.backend_layout, static_argnames=["shape", "dtype"])
    return jitted.lower(shape=shape, dtype="float32").compile()


@functools.lru_cache(maxsize=1)
def on_one_device(initializer, shape):
    return initializer(shape)


def assert_same(actual, expected, exact=True):
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=0, atol=0 if exact else 1e-5)


def assert_cut(value, parts):
    """Check that each of the devices has a shard of its own, and that these are of one size."""
    shards = value.addressable_shards
    assert len({shard.device for shard in shards}) == math.prod(parts)
    assert {shard.data.size for shard in shards} == {math.prod(value.shape) // math.prod(parts)}


@only_jax
@pytest.mark.product
@pytest.mark.parametrize(("case", "shape", "parts"), fitting(MESHES))
def test_a_sharded_variable_has_the_values_of_a_whole_one(case, shape, parts):
    variable = keras.Variable(case.make(), shape, "float32", layout=layout_of(parts, len(shape)))
    assert_cut(variable.value, parts)
    assert_same(variable, case.make()(shape))


@only_jax
@pytest.mark.product
@pytest.mark.parametrize(
    ("case", "shape", "parts"),
    [*fitting(ON_TWO_AND_EIGHT, FIRST_CASES.values()), *fitting(ON_TWO_AND_EIGHT, OTHER_CASES, pytest.mark.full)],
)
def test_a_compiled_initializer_makes_shards_of_the_same_values(case, shape, parts):
    value = compile_sharded(case.make(), shape, layout_of(parts, len(shape)))()
    assert_cut(value, parts)
    assert_same(value, case.make()(shape), case.exact)


@only_jax
@needs_keras("3.13", "compiles initializers of large variables")
@pytest.mark.parametrize(
    ("initializer", "parts"),
    [
        *itertools.product(ELEMENTWISE[:1], ((1, 1), *ON_TWO_AND_EIGHT)),
        *(pytest.param(ELEMENTWISE[0], parts, marks=pytest.mark.full) for parts in ((2, 1), (8, 1), (1, 8))),
        (FEW_CONNECTIONS, (2, 4)),
        (MANY_CONNECTIONS, (2, 4)),
    ],
    ids=str,
)
def test_a_large_variable_is_compiled_and_has_the_values_of_a_whole_one(monkeypatch, initializer, parts):
    shape = LARGE[math.prod(parts)]
    expected = on_one_device(initializer, shape)
    monkeypatch.setattr(backend, "to_tensor", None)  # no array comes from the host
    variable = keras.Variable(initializer, shape, "float32", layout=layout_of(parts))
    assert_cut(variable.value, parts)
    assert np.array_equal(variable.value, expected)


@only_jax
@pytest.mark.parametrize("parts", ON_EIGHT, ids=str)
@pytest.mark.parametrize("initializer", ELEMENTWISE, ids=str)
def test_a_device_makes_its_shard_with_no_memory_and_no_other_device(initializer, parts):
    program = compile_sharded(initializer, LARGE[8], layout_of(parts))
    memory = program.memory_analysis()
    assert memory.output_size_in_bytes == 4 * math.prod(LARGE[8]) // 8
    assert memory.temp_size_in_bytes < 1024
    assert COLLECTIVES.findall(program.as_text()) == []
    assert np.array_equal(program(), on_one_device(initializer, LARGE[8]))


@only_jax
@pytest.mark.parametrize("parts", ON_EIGHT, ids=str)
def test_for_few_connections_a_device_holds_those_of_its_units_besides(parts):
    program = compile_sharded(FEW_CONNECTIONS, LARGE[8], layout_of(parts))
    connections = FEW_CONNECTIONS.connections * LARGE[8][1] // parts[1]
    assert program.memory_analysis().temp_size_in_bytes < 16 * connections
    assert COLLECTIVES.findall(program.as_text()) == []
    assert np.array_equal(program(), on_one_device(FEW_CONNECTIONS, LARGE[8]))


@only_jax
@pytest.mark.parametrize("parts", [(8, 1), (1, 8)], ids=str)
def test_for_many_connections_a_device_holds_twice_its_shard_besides(parts):
    program = compile_sharded(MANY_CONNECTIONS, LARGE[8], layout_of(parts))
    memory = program.memory_analysis()
    assert memory.temp_size_in_bytes < 2.25 * memory.output_size_in_bytes
    assert np.array_equal(program(), on_one_device(MANY_CONNECTIONS, LARGE[8]))


@only_jax
@pytest.mark.parametrize("made_in_scope", [False, True])
def test_a_generator_seeds_large_variables_and_stays_usable(made_in_scope):
    layout_map = distribution.LayoutMap(mesh_of((2, 4)))
    layout_map["kernel"] = ("inputs", "units")
    generator = keras.random.SeedGenerator(11)
    with distribution.ModelParallel(layout_map=layout_map).scope():
        if made_in_scope:
            generator = keras.random.SeedGenerator(11)
        initializer = keras_initx.RandomNormal(seed=generator)
        shapes = (LARGE[8], LARGE[8], (16, 8))
        variables = [keras.Variable(initializer, shape, "float32", name="kernel") for shape in shapes]
    assert to_numpy(generator.state.value).tolist() == [11, 3]
    again = keras_initx.RandomNormal(seed=keras.random.SeedGenerator(11))
    for variable in variables:
        assert_cut(variable.value, (2, 4))
        assert np.array_equal(variable.value, again(variable.shape))


@only_jax
@pytest.mark.parametrize("shape", [(16, 8), LARGE[8]], ids=str)
def test_a_layout_may_be_one_of_jax(shape):
    layout = layout_of((2, 4)).backend_layout
    variable = keras.Variable(ELEMENTWISE[0], shape, "float32", layout=layout)
    assert variable.value.sharding == layout
    assert np.array_equal(variable.value, on_one_device(ELEMENTWISE[0], shape))


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


@only_jax
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_every_device_of_a_data_parallel_model_has_the_weights_of_a_plain_one(devices):
    expected = make_model().get_weights()
    with distribution.DataParallel(devices=distribution.list_devices("cpu")[:devices]).scope():
        model = make_model()
    for variable, weights in zip(model.weights, expected, strict=True):
        assert len(variable.value.addressable_shards) == devices
        for shard in variable.value.addressable_shards:
            assert_same(shard.data, weights)


@only_jax
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_a_model_parallel_model_has_the_weights_of_a_plain_one(devices):
    expected = make_model().get_weights()
    layout_map = distribution.LayoutMap(mesh_of((1, devices)))
    layout_map[".*conv/kernel"] = (None, None, None, "units")
    layout_map[".*(lstm|hidden|out).*kernel"] = (None, "units")
    layout_map[".*bias"] = ("units",)
    with distribution.ModelParallel(layout_map=layout_map).scope():
        model = make_model()
    for variable, weights in zip(model.weights, expected, strict=True):
        assert_cut(variable.value, (1, devices))
        assert_same(variable, weights)


@only_tensorflow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_replica_of_a_mirrored_variable_has_the_values_of_a_plain_one(case):
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        variable = keras.Variable(case.make(), case.shapes[0], "float32")
    assert len({replica.device for replica in variable.value.values}) == 2
    for replica in variable.value.values:
        assert_same(replica, case.make()(case.shapes[0]))


@only_tensorflow
def test_every_replica_of_a_mirrored_model_has_the_weights_of_a_plain_one():
    import tensorflow as tf

    expected = make_model().get_weights()
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = make_model()
    for variable, weights in zip(model.weights, expected, strict=True):
        for replica in variable.value.values:
            assert_same(replica, weights)


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


@only_jax
def test_the_example_of_the_documentation_prints_what_is_shown(capsys):
    docs = pathlib.Path(__file__).parents[1] / "docs"
    runpy.run_path(str(docs / "examples" / "many_devices.py"))
    printed = capsys.readouterr().out
    assert "The weights are equal: True" in printed
    assert printed in (docs / "devices.md").read_text()
