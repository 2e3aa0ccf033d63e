"""The zeros of `Sparse`, which stay zero in training, whoever trains and however."""

import keras
import numpy as np
import pytest
from keras import layers
from modes import float64, to_numpy

import keras_initx
from keras_initx.sampling._namespace import HOST

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(48, 10)).astype("float32"), RNG.normal(size=(48, 4)).astype("float32")


def build(**options):
    sparse = keras_initx.Sparse(3, seed=1)
    hidden = layers.Dense(8, "tanh", kernel_initializer=sparse, kernel_constraint=keras_initx.KeepSparse(sparse))
    model = keras.Sequential([keras.Input((10,)), hidden, layers.Dense(4)])
    if options:
        model.compile(**{"loss": "mse", **options})
    return model


def kernel_of(model):
    return np.array(keras.ops.convert_to_numpy(model.layers[0].kernel), "float32")


def assert_kept(model, before):
    after = kernel_of(model)
    assert np.array_equal(after == 0, before == 0)
    assert (after != before)[before != 0].all()


def test_zeros_stay_and_all_else_is_trained():
    model = build(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9)))
    before = kernel_of(model)
    model.fit(X, Y, batch_size=16, verbose=0)
    assert_kept(model, before)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="others have no device without memory")
def test_a_mask_is_used_on_the_device_where_it_was_made():
    keep, ones = keras_initx.KeepSparse(keras_initx.Sparse(2, seed=1)), np.ones((5, 3), "float32")
    with keras.device("meta"):
        keep(keras.ops.convert_to_tensor(ones))
    assert keras.ops.convert_to_numpy(keep(keras.ops.convert_to_tensor(ones))).sum() == 6


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="others have no such modes")
@pytest.mark.parametrize("mode", ["inference", "functionalize", "vmap", "fake"])
def test_a_mask_that_is_first_used_in_a_mode_has_gradients_after_it(mode):
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    keep, ones = keras_initx.KeepSparse(keras_initx.Sparse(2, seed=1)), torch.ones(5, 3)
    if mode == "inference":
        with torch.inference_mode():
            keep(ones)
    elif mode == "fake":
        with FakeTensorMode() as fake:
            keep(fake.from_tensor(ones))
    else:
        getattr(torch.func, mode)(keep)(ones if mode == "functionalize" else ones[None])
    ones.requires_grad_()
    keep(ones).sum().backward()
    assert ones.grad.sum(dim=0).tolist() == [2, 2, 2]


def test_a_kernel_that_only_float64_holds():
    sparse = keras_initx.Sparse(3, stddev=1e-40, seed=1)
    with float64():
        kernel = keras.Variable(sparse, shape=(8, 4), dtype="float64")
        np.testing.assert_array_equal(to_numpy(keras_initx.KeepSparse(sparse)(kernel)), to_numpy(kernel))


def test_zeros_stay_in_a_loop_of_ones_own():
    model, optimizer = build(), keras.optimizers.Adam(0.1)
    before = kernel_of(model)
    for _ in range(2):
        optimizer.apply([keras.ops.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
    assert_kept(model, before)


@pytest.mark.every_backend
def test_a_constraint_is_traced_once_and_its_program_draws_nothing(monkeypatch):
    drawn = []
    draw = keras_initx.Sparse.draw
    monkeypatch.setattr(keras_initx.Sparse, "draw", lambda *arguments: drawn.append(arguments[1]) or draw(*arguments))
    model = build(optimizer="sgd")
    before = kernel_of(model)
    drawn.clear()
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    assert len(drawn) == 1
    assert drawn[0].xp is HOST
    assert_kept(model, before)


def test_a_loaded_model_goes_on_with_the_same_zeros(tmp_path):
    model = build(optimizer="sgd")
    before = kernel_of(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.fit(X, Y, batch_size=16, verbose=0)
    assert_kept(loaded, before)
    assert len(loaded.weights) == 4


def test_a_convolution_is_told_the_axes():
    sparse = keras_initx.Sparse(5, seed=2, input_axes=[0, 1, 2], output_axes=[3])
    kernel = sparse((3, 3, 2, 4))
    kept = keras.ops.convert_to_numpy(keras_initx.KeepSparse(sparse)(keras.ops.ones((3, 3, 2, 4))))
    assert np.array_equal(kept != 0, keras.ops.convert_to_numpy(kernel) != 0)


@pytest.mark.every_backend
def test_what_is_not_a_number_becomes_zero():
    kept = keras_initx.KeepSparse(keras_initx.Sparse(1, seed=0))(keras.ops.full((3, 2), np.nan))
    assert (keras.ops.convert_to_numpy(kept) == 0).sum() == 4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_dtype_stays(dtype):
    kept = keras_initx.KeepSparse(keras_initx.Sparse(1, seed=0))(keras.ops.ones((3, 2), dtype))
    assert keras.backend.standardize_dtype(kept.dtype) == dtype


def test_axes_that_a_layer_may_fill_in_are_asked_for():
    keep = keras_initx.KeepSparse(keras_initx.Sparse(2, seed=0, input_axes=[0, 1]))
    with pytest.raises(ValueError, match=r"`initializer` must have both .*shape=\(3, 3, 2\)"):
        keep(keras.ops.ones((3, 3, 2)))


@pytest.mark.parametrize("seed", [None, keras.random.SeedGenerator(0)])
def test_a_seed_that_cannot_be_known_again_is_refused(seed):
    with pytest.raises(TypeError, match="`initializer` must have an integer `seed`"):
        keras_initx.KeepSparse(keras_initx.Sparse(2, seed=seed))


@pytest.mark.parametrize("initializer", ["initx.sparse", keras.initializers.Zeros()])
def test_other_initializers_are_refused(initializer):
    with pytest.raises(TypeError, match=r"`initializer` must be a `Sparse`\. Received: initializer="):
        keras_initx.KeepSparse(initializer)


def test_its_text_is_its_call():
    assert repr(keras_initx.KeepSparse(keras_initx.Sparse(2, seed=0))).startswith("KeepSparse(Sparse(connections=2,")


def test_parts_of_a_layer_share_the_zeros_of_one_constraint():
    sparse = keras_initx.Sparse(2, seed=3)
    memory = layers.LSTM(4, kernel_initializer=sparse, kernel_constraint=keras_initx.KeepSparse(sparse))
    model = keras.Sequential([keras.Input((6, 8)), layers.Bidirectional(memory)])
    keras_initx.initialize(model, seed=0)
    both = model.layers[0]
    kernels = [keras.ops.convert_to_numpy(part.cell.kernel) for part in (both.forward_layer, both.backward_layer)]
    for kernel in kernels:
        np.testing.assert_array_equal(kernel, keras.ops.convert_to_numpy(sparse((8, 16))))
