"""Seeds by the paths of weights; and the digest, of each value and its place, so that parts add up."""

import functools
import gc
import hashlib
import re
import weakref

import keras
import numpy as np
import pytest
from drawn import build
from meshes import distribution, mesh_of
from modes import BACKEND
from stacks import arrays, assert_equal

import keras_initx
from keras_initx import initialize, weight_seed, weights_digest
from keras_initx.backends._current import backend

layers = keras.layers
only_jax = pytest.mark.skipif(BACKEND != "jax", reason="Keras shards variables on JAX only")
RANDOM = np.random.default_rng(0)
MODULUS = 1 << 64


def mixed(word):
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % MODULUS
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % MODULUS
    return word ^ (word >> 31)


def line(path, array):
    """Return what is hashed of an array, by the definition in the documentation."""
    total = 0
    for place, bits in enumerate(array.reshape(-1).view(f"uint{8 * array.itemsize}").tolist()):
        total += mixed(0x9E3779B97F4A7C15 * (place + 1) % MODULUS ^ bits)
    return f"{path} {array.dtype.name} {array.shape}\n".encode() + (total % MODULUS).to_bytes(8, "little")


@pytest.mark.parametrize("dtype", ["bfloat16", "float64", "int8", "bool"])
def test_the_digest_is_as_it_is_defined(dtype):
    numbers = 9 * RANDOM.normal(size=(3, 5))
    arrays = {"b": numbers.astype(dtype), "a": np.array(2, dtype), "c": np.zeros((0, 3), dtype)}
    content = b"".join(line(path, arrays[path]) for path in sorted(arrays))
    assert weights_digest(arrays) == hashlib.blake2b(content, digest_size=16).hexdigest()


def test_of_a_large_array_each_value_counts(monkeypatch):
    monkeypatch.setattr("keras_initx.tools.initialize._digest._CHUNK", 8)
    array = RANDOM.normal(size=(5, 33)).astype("float32")
    expected = hashlib.blake2b(line("a", array), digest_size=16).hexdigest()
    assert weights_digest({"a": array}) == weights_digest({"a": np.asfortranarray(array)}) == expected
    array[4, 32] += 1
    assert weights_digest({"a": array}) != expected


def network():
    stack = [layers.Conv2D(16, 3, name="conv"), layers.GlobalAveragePooling2D(), layers.Dense(8, name="dense")]
    return keras.Sequential([keras.Input((8, 8, 8)), *stack])


def sharded(parts, axes):
    """Return the same network with kernels and biases in parts along these axes."""
    layout_map = distribution.LayoutMap(mesh_of(parts))
    layout_map[".*conv/kernel"] = axes
    layout_map[".*dense/kernel"] = axes[-2:]
    layout_map[".*bias"] = axes[-1:]
    with distribution.ModelParallel(layout_map=layout_map).scope():
        return network()


@pytest.mark.every_backend
@only_jax
@pytest.mark.parametrize(
    ("parts", "axes"),
    [
        ((2, 4), (None, None, "inputs", "units")),
        ((2, 4), (None, None, None, "units")),
    ],
)
def test_every_sharding_has_the_digest_of_one_device_and_gathers_nothing(monkeypatch, parts, axes):
    plain = network()
    keras_initx.initialize(plain, seed=0)
    expected = weights_digest(plain)
    model = sharded(parts, axes)
    keras_initx.initialize(model, seed=0)
    monkeypatch.setattr(type(backend), "host_view", None)
    assert weights_digest(model) == expected


@pytest.mark.every_backend
@only_jax
@pytest.mark.usefixtures("shared_memory")
@pytest.mark.parametrize("spec", [(), ("units",), None], ids=["on each device", "sharded", "on one device"])
def test_what_is_read_leaves_no_copy_on_the_host(spec):
    """JAX keeps what it has copied to the host. A layout that NumPy does not have is copied as from an accelerator."""
    layouts = pytest.importorskip("jax.experimental.layout")
    if not hasattr(layouts, "Format"):
        pytest.skip("an older JAX has another name for it")
    import jax

    if spec is None:
        place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    else:
        mesh = jax.make_mesh((8,), ("units",))
        place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
    array = RANDOM.normal(size=(8, 16)).astype("float32")
    tensor = jax.device_put(array, layouts.Format(layouts.Layout((1, 0)), place))
    read = [weakref.ref(values) for _, values in backend.parts(tensor)]
    read.append(weakref.ref(backend.host_view(tensor)))
    gc.collect()
    assert all(reference() is None for reference in read)
    np.testing.assert_array_equal(backend.host_view(tensor), array)


@pytest.mark.every_backend
def test_the_weights_of_a_seed_are_the_same_on_every_backend():
    model = build()
    initialize(model, seed=1)
    assert weights_digest(model) != "0f29ddc6c712612de68eed46323c9307"
    initialize(model, seed=7)
    assert weights_digest(model) == "0f29ddc6c712612de68eed46323c9307"


def test_there_is_no_digest_before_there_are_all_weights():
    with pytest.raises(ValueError, match="`model` must be built"):
        weights_digest(keras.Sequential([layers.Dense(2)]))


def test_a_model_written_with_the_seeds_has_the_same_weights():
    seed = functools.partial(weight_seed, root=7)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, name="hidden", kernel_initializer=keras_initx.HeNormal(seed=seed("hidden/kernel"))),
            layers.Dense(2, name="logits", kernel_initializer=keras_initx.Orthogonal(seed=seed("logits/kernel"))),
        ]
    )
    before = arrays(model)
    initialize(model, seed=7)
    assert_equal(arrays(model), before)


def test_equal_seeds_of_two_weights_are_refused():
    names = ("layer_18915x", "layer_50028x")  # found by search: with the root 0 their kernels get the same seed
    model = keras.Sequential([keras.Input((4,)), *(layers.Dense(4, name=name) for name in names)])
    message = (
        "`seed` must give 'layer_18915x/kernel' and 'layer_50028x/kernel' different seeds: use another `seed`. "
        "Received: the seed 14170331 for both"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        initialize(model, seed=0)
    assert len(initialize(model, seed=1).rows) == 4


def test_a_file_has_other_names_and_is_loaded_first(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    for given in (path, str(path)):
        with pytest.raises(TypeError, match=r"load it, `keras\.saving\.load_model\(path\)`"):
            weights_digest(given)
