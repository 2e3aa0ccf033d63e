"""Large sharded variables: Keras compiles their initializers, and each device makes its shard."""

import functools
import math
import pathlib
import re
import runpy

import keras
import numpy as np
import pytest
from meshes import assert_cut, compile_sharded, distribution, layout_of, mesh_of
from modes import BACKEND, needs_keras, to_numpy
from safetensors.numpy import save_file

import keras_initx
from keras_initx import load_pretrained
from keras_initx.backends._current import backend
from keras_initx.files import _formats

pytestmark = [
    pytest.mark.every_backend,
    pytest.mark.skipif(BACKEND != "jax", reason="Keras shards variables on JAX only"),
    pytest.mark.usefixtures("optimized"),
]

# Keras compiles an initializer from 250 MiB on, counted once for each device.
LARGE = (4096, 2048)  # here for eight devices
COMPILED = (2048, 1024)  # by a test, whatever the size
COLLECTIVES = re.compile(r" (?:all-|collective-|reduce-scatter|ragged-all-)[\w-]*\(.*")

# Their elements do not depend on each other.
NORMAL = keras_initx.RandomNormal(mean=1.0, seed=1)
TRUNCATED = keras_initx.HeNormal(seed=4)
FEW_CONNECTIONS = keras_initx.Sparse(connections=10, seed=6)
MANY_CONNECTIONS = keras_initx.Sparse(connections=40, seed=7)


@functools.lru_cache(maxsize=1)
def on_one_device(initializer, shape):
    return initializer(shape)


@needs_keras("3.13", "compiles initializers of large variables")
def test_a_large_variable_is_compiled_and_has_the_values_of_a_whole_one(monkeypatch):
    expected = on_one_device(NORMAL, LARGE)
    monkeypatch.setattr(backend, "to_tensor", None)  # no array comes from the host
    variable = keras.Variable(NORMAL, LARGE, "float32", layout=layout_of((2, 4)))
    assert_cut(variable.value, (2, 4))
    assert np.array_equal(variable.value, expected)


@pytest.mark.parametrize(("initializer", "parts"), [(NORMAL, (8, 1)), (TRUNCATED, (1, 8))], ids=str)
def test_a_device_makes_its_shard_with_no_memory_and_no_other_device(initializer, parts):
    program = compile_sharded(initializer, COMPILED, layout_of(parts))
    memory = program.memory_analysis()
    assert memory.output_size_in_bytes == 4 * math.prod(COMPILED) // 8
    assert memory.temp_size_in_bytes < 1024
    assert COLLECTIVES.findall(program.as_text()) == []
    assert np.array_equal(program(), on_one_device(initializer, COMPILED))


@pytest.mark.rare
def test_for_few_connections_a_device_holds_those_of_its_units_besides():
    parts = (2, 4)
    program = compile_sharded(FEW_CONNECTIONS, COMPILED, layout_of(parts))
    connections = FEW_CONNECTIONS.connections * COMPILED[1] // parts[1]
    assert program.memory_analysis().temp_size_in_bytes < 16 * connections
    assert COLLECTIVES.findall(program.as_text()) == []
    assert np.array_equal(program(), on_one_device(FEW_CONNECTIONS, COMPILED))


@pytest.mark.rare
def test_for_many_connections_a_device_holds_twice_its_shard_besides():
    program = compile_sharded(MANY_CONNECTIONS, COMPILED, layout_of((1, 8)))
    memory = program.memory_analysis()
    assert memory.temp_size_in_bytes < 2.25 * memory.output_size_in_bytes
    assert np.array_equal(program(), on_one_device(MANY_CONNECTIONS, COMPILED))


@pytest.mark.rare
@needs_keras("3.15", "passes the layout of a variable to its initializer")
def test_large_variables_that_differ_in_their_seeds_share_a_program(monkeypatch):
    first, second = keras_initx.RandomUniform(-0.1, 0.1, seed=8), keras_initx.RandomUniform(-0.1, 0.1, seed=9)
    shape, expected = LARGE, second(LARGE)
    draw, traced = keras_initx.RandomUniform.draw, []
    monkeypatch.setattr(keras_initx.RandomUniform, "draw", lambda *args: traced.append(args) or draw(*args))
    variables = [keras.Variable(one, shape, "float32", layout=layout_of((2, 4))) for one in (first, second)]
    assert len(traced) == 1
    assert np.array_equal(variables[1].value, expected)


@needs_keras("3.15", "passes the layout of a variable to its initializer")
@pytest.mark.parametrize(("shape", "is_compiled"), [((1024, 1024), True), ((1024, 1016), False)])
def test_less_than_a_million_elements_are_made_on_the_host_for_any_number_of_devices(monkeypatch, shape, is_compiled):
    monkeypatch.setattr("keras_initx.backends._jax._SHARDED_FROM", 0)  # as for very many devices
    made, to_tensor = [], backend.to_tensor
    monkeypatch.setattr(backend, "to_tensor", lambda array: made.append(array) or to_tensor(array))
    keras.Variable(NORMAL, shape, "float32", layout=layout_of((2, 4)))
    assert (made == []) is is_compiled


@needs_keras("3.15", "passes the layout of a variable to its initializer")
def test_a_large_orthogonal_variable_has_the_bits_of_a_whole_one():
    """Made on the host: a sharded factorization takes minutes to compile, and rounds in another way."""
    initializer, shape = keras_initx.Orthogonal(seed=1), (1 << 17, 64)
    variable = keras.Variable(initializer, shape, "float32", layout=layout_of((8, 1)))
    assert_cut(variable.value, (8, 1))
    assert np.array_equal(variable.value, initializer(shape))


@pytest.mark.parametrize("layout", ["torch", "keras"])
def test_a_sharded_weight_is_read_region_by_region(tmp_path, monkeypatch, layout):
    whole = np.arange(16 * 8, dtype="float32").reshape(16, 8)
    save_file({"out.weight": np.ascontiguousarray(whole.T if layout == "torch" else whole)}, tmp_path / "a.safetensors")
    layout_map = distribution.LayoutMap(mesh_of((2, 4)))
    layout_map[".*out/kernel"] = ("inputs", "units")
    with distribution.ModelParallel(layout_map=layout_map).scope():
        model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8, use_bias=False, name="out")])
    read = []

    def read_region(reader, region, original=_formats._RowReader.read):
        values = original(reader, region)
        read.append(values.shape)
        return values

    monkeypatch.setattr(_formats._RowReader, "read", read_region)
    load_pretrained(model, tmp_path / "a.safetensors", {"out": "out"}, layout=layout)
    assert set(read) == {(2, 8) if layout == "torch" else (8, 2)}
    assert_cut(model.layers[0].kernel.value, (2, 4))
    assert np.array_equal(model.layers[0].kernel, whole)


@pytest.mark.rare
def test_a_generator_seeds_large_variables_and_stays_usable():
    layout_map = distribution.LayoutMap(mesh_of((2, 4)))
    layout_map["kernel"] = ("inputs", "units")
    with distribution.ModelParallel(layout_map=layout_map).scope():
        generator = keras.random.SeedGenerator(11)
        initializer = keras_initx.RandomNormal(seed=generator)
        shapes = (LARGE, (16, 8))
        variables = [keras.Variable(initializer, shape, "float32", name="kernel") for shape in shapes]
    assert to_numpy(generator.state.value).tolist() == [11, 2]
    again = keras_initx.RandomNormal(seed=keras.random.SeedGenerator(11))
    for variable in variables:
        assert_cut(variable.value, (2, 4))
        assert np.array_equal(variable.value, again(variable.shape))


def test_initialize_makes_a_large_weight_in_its_shards(monkeypatch):
    def build():
        rows, units = LARGE
        large = keras.layers.Dense(units, kernel_initializer="zeros", name="large")
        return keras.Sequential([keras.Input((rows,)), large])

    plain = build()
    expected = keras_initx.initialize(plain, {"*/kernel": "initx.he_normal"}, seed=1)
    layout_map = distribution.LayoutMap(mesh_of((2, 4)))
    layout_map[".*large/kernel"] = ("inputs", "units")
    with distribution.ModelParallel(layout_map=layout_map).scope():
        model = build()
    read, view = [], type(backend).host_view
    monkeypatch.setattr(type(backend), "host_view", lambda self, tensor: read.append(tensor.size) or view(self, tensor))
    found = keras_initx.initialize(model, {"*/kernel": "initx.he_normal"}, seed=1)
    assert read == [LARGE[1]]  # the bias
    assert_cut(model.layers[0].kernel.value, (2, 4))
    for own, other in zip(model.weights, plain.weights, strict=True):
        assert np.array_equal(own, other)
    assert found.rows[0].std == pytest.approx(expected.rows[0].std, rel=1e-5)


@pytest.mark.rare
def test_the_example_of_the_documentation_prints_what_is_shown(capsys):
    docs = pathlib.Path(__file__).parents[2] / "docs"
    runpy.run_path(str(docs / "examples" / "many_devices.py"))
    printed = capsys.readouterr().out
    assert "The weights are equal: True" in printed
    assert printed in (docs / "devices.md").read_text()
