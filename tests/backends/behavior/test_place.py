"""Where values are made, and what that costs: programs, memory on the host, precision."""

import tracemalloc
import types
import warnings

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy

import keras_initx
from keras_initx.backends._current import backend
from keras_initx.sampling import Quantiles, _stream, _subsets
from keras_initx.sampling._namespace import DEVICE

pytestmark = pytest.mark.every_backend


compiling = pytest.mark.skipif(not backend.compiles_shapes, reason="this backend compiles nothing on a CPU")


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


@compiling
@pytest.mark.parametrize("name", ["RandomUniform", "TruncatedNormal"])
def test_no_program_is_compiled_for_another_shape_or_scale(way, monkeypatch, name):
    compilations, words_at = [], _stream.words_at
    monkeypatch.setattr(_stream, "words_at", lambda *arguments: compilations.append(1) or words_at(*arguments))
    _stream._make_block_program.cache_clear()
    cls = getattr(keras_initx, name)
    for argument, shape in ((0.5, (70, 30)), (0.7, (70, 30)), (0.7, (3, 3, 10, 5)), (0.7, (5000,)), (0.2, (7,))):
        cls(-0.3, argument, seed=1)(shape)
    assert len(compilations) == 1


@pytest.mark.rare
@compiling
def test_no_program_is_compiled_for_other_sparse_matrices(way, monkeypatch):

    compilations, program = [], backend.program
    monkeypatch.setattr(backend, "program", lambda function: compilations.append(1) or program(function))
    _subsets._columns_program.cache_clear()
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
    monkeypatch.setattr(_stream, "_draw_by_triton", launch)
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


@pytest.mark.skipif(BACKEND != "torch", reason="the others keep no table")
def test_a_table_that_may_change_is_not_kept(way):
    knots = np.linspace(0, 2**24, 2**16 + 1).astype("int32")
    quantiles = Quantiles(knots, lowest=0.0, highest=1.0, unit=2.0**-24)
    stream = _stream.Stream((1, 0), xp=DEVICE)
    before = to_numpy(stream.from_quantiles(0, (100,), quantiles))
    knots[:] = np.rint(2**24 * np.linspace(0, 1, knots.size) ** 2)
    assert not np.array_equal(to_numpy(stream.from_quantiles(0, (100,), quantiles)), before)


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
