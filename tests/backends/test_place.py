"""Where values are made, and what that costs: programs, memory on the host, precision."""

import sys
import tracemalloc
import types
import warnings

import keras
import numpy as np
import pytest
from modes import BACKEND, MODES, run, to_numpy

import keras_initx
from keras_initx.backends import backend
from keras_initx.sampling import HOST, Quantiles, _stream, choose_namespace
from keras_initx.sampling._namespace import DEVICE, TRACED

pytestmark = pytest.mark.every_backend

LARGE = backend.worth_a_device
compiling = pytest.mark.skipif(not backend.compiles_shapes, reason="this backend compiles nothing on a CPU")


def test_on_a_cpu_the_host_makes_all(monkeypatch):
    monkeypatch.delenv("KERAS_INITX_SAMPLE_ON", raising=False)
    with keras.device("cpu:0"):
        assert choose_namespace(2**40) is HOST


@pytest.mark.parametrize(("size", "namespace"), [(0, HOST), (LARGE - 1, HOST), (LARGE, DEVICE)])
def test_an_accelerator_makes_what_is_large(monkeypatch, size, namespace):
    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", "auto")
    monkeypatch.setattr(backend, "on_accelerator", lambda: True)
    assert choose_namespace(size) is namespace


@pytest.mark.parametrize("size", [0, LARGE])
def test_the_environment_forces_either_at_each_call(monkeypatch, size):
    monkeypatch.setattr(backend, "on_accelerator", lambda: True)
    for place, namespace in (("host", HOST), ("device", DEVICE), ("host", HOST)):
        monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", place)
        assert choose_namespace(size) is namespace


def test_an_unknown_place_is_an_error(monkeypatch):
    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", "gpu")
    message = "`KERAS_INITX_SAMPLE_ON` must be one of .*'device'.*Received: KERAS_INITX_SAMPLE_ON='gpu'"
    with pytest.raises(ValueError, match=message):
        keras_initx.RandomNormal(seed=1)((2, 3))


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("eager", "compile")])
def test_a_trace_is_never_left(monkeypatch, mode):
    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", "device")
    found = []
    run(mode, lambda: found.append(choose_namespace(LARGE)) or keras.ops.zeros(()))
    assert set(found) == {TRACED}


def test_the_device_is_the_one_that_keras_uses(monkeypatch):
    with keras.device("cpu:0"):
        assert backend.on_accelerator() is False
    if BACKEND == "jax":
        import jax

        with keras.device("cpu:0"), monkeypatch.context() as patch:
            cpu = jax.config.jax_default_device
            patch.setattr(jax, "devices", lambda: [types.SimpleNamespace(platform="gpu")])
            assert backend.on_accelerator() is False
            with jax.default_device(None):
                assert backend.on_accelerator() is True
                with jax.default_device(cpu):
                    assert backend.on_accelerator() is False
    if BACKEND == "torch":
        with keras.device("meta"):
            assert backend.on_accelerator() is False


@pytest.mark.skipif(BACKEND != "jax", reason="platforms of JAX")
@pytest.mark.parametrize(("kind", "accelerated"), [("gpu", True), ("cuda", True), ("tpu", False)])
def test_the_platforms_of_jax_that_make_values(monkeypatch, kind, accelerated):
    import jax

    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(platform=kind)])
    with jax.default_device(None):
        assert backend.on_accelerator() is accelerated


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's programs")
def test_where_tensorflow_cannot_compile_the_host_makes_all(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf, "fill", lambda *arguments: types.SimpleNamespace(device="/device:GPU:0"))
    assert backend.on_accelerator() is True
    monkeypatch.setattr(sys, "platform", "darwin")
    assert backend.on_accelerator() is False


@pytest.mark.skipif(BACKEND != "torch", reason="devices of torch")
@pytest.mark.parametrize(("kind", "accelerated"), [("cuda", True), ("xpu", True), ("mps", False)])
def test_the_devices_of_torch_that_make_values(monkeypatch, kind, accelerated):
    import torch

    monkeypatch.setattr(keras.ops, "empty", lambda shape: types.SimpleNamespace(device=torch.device(kind)))
    assert backend.on_accelerator() is accelerated


@compiling
@pytest.mark.parametrize("name", ["RandomUniform", "TruncatedNormal"])
def test_no_program_is_compiled_for_another_shape_or_scale(way, monkeypatch, name):
    compilations, words_at = [], _stream.words_at
    monkeypatch.setattr(_stream, "words_at", lambda *arguments: compilations.append(1) or words_at(*arguments))
    _stream._block_program.cache_clear()
    cls = getattr(keras_initx, name)
    for argument, shape in ((0.5, (70, 30)), (0.7, (70, 30)), (0.7, (3, 3, 10, 5)), (0.7, (5000,)), (0.2, (7,))):
        cls(-0.3, argument, seed=1)(shape)
    assert len(compilations) == 1


@compiling
def test_no_program_is_compiled_for_other_sparse_matrices(way, monkeypatch):
    from keras_initx.sampling import _sparse

    compilations, program = [], backend.program
    monkeypatch.setattr(backend, "program", lambda function: compilations.append(1) or program(function))
    _sparse._columns_program.cache_clear()
    for shape in ((70, 30), (90, 500)):
        keras_initx.Sparse(4, seed=1)(shape)
    assert not compilations  # the host chooses few connections
    for connections, units in ((40, 30), (50, 60)):  # a program serves one number of inputs
        keras_initx.Sparse(connections, seed=1)((70, units))
    assert len(compilations) == 1


@pytest.mark.parametrize(
    "initializer",
    [
        keras_initx.RandomNormal(seed=1),
        keras_initx.Sparse(seed=1),
    ],
    ids=str,
)
def test_the_memory_of_the_host_does_not_grow_with_the_array(monkeypatch, initializer):
    # Of what the host allocates by NumPy; the memory of a CPU device is its framework's.
    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", "device")
    monkeypatch.setattr(backend, "triton_device", lambda: None)  # whose interpreter is NumPy
    monkeypatch.setattr(backend, "block", 1 << 16)

    def peak(shape):
        initializer(shape)  # tables and programs are made once
        tracemalloc.start()
        try:
            initializer(shape)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak((512, 1024)) < 4 * 512 * 1024 / 4
    assert np.isfinite(to_numpy(initializer((8, 8)))).all()


@pytest.fixture
def broken_triton(monkeypatch):
    """Let Triton fail as it does without a C compiler."""

    def launch(*arguments):
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(backend, "triton_device", lambda: "cuda:7")
    monkeypatch.setattr(_stream, "_by_triton", launch)
    _stream._runs_triton.cache_clear()
    yield
    _stream._runs_triton.cache_clear()


@pytest.mark.skipif(BACKEND != "torch", reason="a kernel for torch")
def test_where_triton_does_not_run_torch_makes_the_values_and_says_so_once(way, monkeypatch, broken_triton):
    initializer = keras_initx.RandomNormal(seed=1)
    with pytest.warns(UserWarning, match=r"Triton does not run on cuda:7.*C compiler.*RuntimeError: Failed to find"):
        made = initializer((50, 70))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        np.testing.assert_array_equal(to_numpy(initializer((50, 70))), to_numpy(made))
    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", "host")
    np.testing.assert_array_equal(to_numpy(made), to_numpy(initializer((50, 70))))


@pytest.fixture
def uploads(monkeypatch):
    """Return a list of the sizes of what torch gets from NumPy."""
    import torch

    sizes = []

    def counted(convert):
        return lambda x, **keywords: sizes.append(np.size(x)) or convert(x, **keywords)

    for name in ("as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, counted(getattr(torch, name)))
    return sizes


@pytest.mark.skipif(BACKEND != "torch", reason="a kernel for torch")
@pytest.mark.parametrize("name", ["RandomNormal", "RandomUniform", "TruncatedNormal", "HeNormal"])
def test_a_launch_of_the_kernel_makes_a_weight_and_waits_for_no_copy(way, monkeypatch, uploads, name):
    if way != "kernel":
        pytest.skip("needs Triton's interpreter")
    from keras_initx.sampling import _triton

    initializer = getattr(keras_initx, name)(seed=1)
    initializer((50, 100))  # puts the table there
    launches, kernel = [], _triton._fill

    class Counted:
        def __getitem__(self, grid):
            launches.append(grid)
            return kernel[grid]

    monkeypatch.setattr(_triton, "_fill", Counted())
    uploads.clear()
    initializer((70, 100))
    assert (len(launches), uploads) == (1, [])


@pytest.mark.skipif(BACKEND != "torch", reason="the uploads of torch are counted")
def test_of_a_sparse_kernel_its_connections_are_uploaded(way, uploads):
    initializer = keras_initx.Sparse(4, seed=1)
    initializer((50, 100))
    uploads.clear()
    initializer((50, 100))
    assert uploads == [4 * 100, 4 * 100 * 2]  # their values and their places


@pytest.mark.skipif(BACKEND != "jax", reason="what JAX compiles and uploads")
@pytest.mark.parametrize("name", ["HeNormal", "Orthogonal"])
def test_a_second_weight_compiles_nothing_and_uploads_a_few_words(way, monkeypatch, compilations, name):
    import jax

    initializer = getattr(keras_initx, name)(seed=1)
    initializer((70, 100))
    compilations.clear()
    sizes, put = [], jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda x, *rest, **options: sizes.append(np.size(x)) or put(x))
    initializer((70, 100))
    assert not compilations
    assert sorted(sizes) == [4] * 7 + [5]  # the place of each block, and numbers


@pytest.mark.skipif(BACKEND != "torch", reason="the others compile what is constant")
@pytest.mark.parametrize("name", ["RandomNormal", "RandomUniform", "TruncatedNormal"])
def test_torch_gets_a_table_once_and_little_for_each_block(way, monkeypatch, uploads, name):
    monkeypatch.setattr(backend, "triton_device", lambda: None)
    initializer = getattr(keras_initx, name)(seed=1)
    initializer((5000,))
    uploads.clear()
    initializer((5000,))
    assert len(uploads) == 1 + 5  # numbers for the draw, and a place for each of its blocks
    assert max(uploads) == 5


@pytest.mark.skipif(BACKEND != "tensorflow", reason="updates of TensorFlow")
def test_no_words_are_updated_as_integers_which_tensorflow_keeps_on_the_host(way, monkeypatch):
    import tensorflow as tf

    dtypes, update = [], tf.raw_ops.InplaceUpdate
    monkeypatch.setattr(tf.raw_ops, "InplaceUpdate", lambda x, i, v: dtypes.append(x.dtype) or update(x=x, i=i, v=v))
    assert _stream.Stream((1, 0), xp=DEVICE).words(0, (3000,)).dtype == tf.int32
    assert dtypes == [tf.float32] * 3


@pytest.mark.skipif(BACKEND != "torch", reason="the others keep no table")
def test_a_table_that_may_change_is_not_kept(way):
    knots = np.linspace(0, 2**24, 2**16 + 1).astype("int32")
    quantiles = Quantiles(knots, lowest=0.0, highest=1.0, unit=2.0**-24)
    stream = _stream.Stream((1, 0), xp=DEVICE)
    before = to_numpy(stream.from_quantiles(0, (100,), quantiles))
    knots[:] = np.rint(2**24 * np.linspace(0, 1, knots.size) ** 2)
    assert not np.array_equal(to_numpy(stream.from_quantiles(0, (100,), quantiles)), before)


@pytest.mark.skipif(BACKEND != "torch", reason="settings of torch that are inherited")
@pytest.mark.parametrize("parent", ["backends", "backends.cudnn"])
@pytest.mark.parametrize("own", ["none", "tf32"])
def test_an_inherited_precision_is_inherited_again(parent, own):
    import torch

    matmul, parents = torch.backends.cuda.matmul, {"backends": torch.backends, "backends.cudnn": torch.backends.cudnn}
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("this torch has the older interface only")
    settings = torch.backends, torch.backends.cudnn, matmul
    try:
        parents[parent].fp32_precision = "tf32"
        matmul.fp32_precision = own
        with backend.full_precision():
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "tf32"
        parents[parent].fp32_precision = "ieee"
        assert matmul.fp32_precision == {"none": "ieee", "tf32": "tf32"}[own]
        assert torch.backends.fp32_precision == {"backends": "ieee", "backends.cudnn": "none"}[parent]
        assert torch.backends.cudnn.fp32_precision == "ieee"  # which inherits too, where it has none of its own
    finally:
        for setting in settings:
            setting.fp32_precision = "none"


def test_products_are_in_full_precision_on_a_device(monkeypatch):
    if BACKEND == "tensorflow":
        import tensorflow as tf

        read = tf.config.experimental.tensor_float_32_execution_enabled
        with backend.full_precision():
            assert read() is False
        assert read() is True
    if BACKEND == "torch":
        import torch

        torch.set_float32_matmul_precision("high")
        try:
            with backend.full_precision():
                assert torch.get_float32_matmul_precision() == "highest"
            assert torch.get_float32_matmul_precision() == "high"
        finally:
            torch.set_float32_matmul_precision("highest")
        matmul = torch.backends.cuda.matmul
        if hasattr(matmul, "fp32_precision"):  # the newer interface, which the older one cannot be mixed with
            before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
            with backend.full_precision():
                assert matmul.fp32_precision == "ieee"
            assert matmul.fp32_precision == "tf32"
            matmul.fp32_precision = before
    if BACKEND == "jax":
        import jax

        before = jax.config.jax_default_matmul_precision
        with backend.full_precision():
            assert jax.config.jax_default_matmul_precision == "highest"
        assert jax.config.jax_default_matmul_precision == before
