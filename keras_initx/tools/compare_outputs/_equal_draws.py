"""Random numbers that are the same in each run of a model, on every backend.

What is drawn depends on the shape alone. So it does not matter in which order layers draw, or how
often: a loop of torch draws in each step, a program of JAX once.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_initx._keras import replaced_draws
from keras_initx._typing import Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.sampling._namespace import HOST
from keras_initx.sampling._stream import Stream

_KEY = (0, 0)
# What a function of Keras draws.
_Draw = Callable[..., Tensor]


def equal_draws() -> contextlib.AbstractContextManager[None]:
    """Return a context in which Keras' layers and `keras.random` draw such numbers in this thread.

    It is so for dropout, and for uniform, normal and integer numbers. What is drawn by other means
    stays random.
    """
    return replaced_draws(
        {
            "dropout": _dropout,
            "normal": _normal,
            "randint": _randint,
            "truncated_normal": _truncated_normal,
            "uniform": _uniform,
        }
    )


def _is_known(shape: Sequence[Any]) -> bool:
    """Return whether numbers can be made for a shape: it has no tensors, and they have values."""
    return all(isinstance(length, int) for length in shape) and not backend.is_abstract()


def _uniforms(shape: Sequence[Any]) -> Any:
    return Stream(_KEY, xp=HOST).uniform(0, tuple(shape))


def _normals(shape: Sequence[Any]) -> Any:
    return Stream(_KEY, xp=HOST).normal(0, tuple(shape))


def _uniform(
    draw: _Draw,
    shape: Shape,
    minval: Any = 0.0,
    maxval: Any = 1.0,
    dtype: Any = None,
    seed: Any = None,
) -> Tensor:
    if not _is_known(shape):
        return draw(shape, minval, maxval, dtype=dtype, seed=seed)
    values = keras.ops.convert_to_tensor(_uniforms(shape), dtype or keras.config.floatx())
    return values * (maxval - minval) + minval


def _normal(
    draw: _Draw,
    shape: Shape,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = None,
    seed: Any = None,
) -> Tensor:
    if not _is_known(shape):
        return draw(shape, mean, stddev, dtype=dtype, seed=seed)
    values = keras.ops.convert_to_tensor(_normals(shape), dtype or keras.config.floatx())
    return values * stddev + mean


def _truncated_normal(
    draw: _Draw,
    shape: Shape,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = None,
    seed: Any = None,
) -> Tensor:
    if not _is_known(shape):
        return draw(shape, mean, stddev, dtype=dtype, seed=seed)
    values = _normals(shape).clip(-2, 2)
    values = keras.ops.convert_to_tensor(values, dtype or keras.config.floatx())
    return values * stddev + mean


def _randint(
    draw: _Draw, shape: Shape, minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None
) -> Tensor:
    if not _is_known(shape):
        return draw(shape, minval, maxval, dtype=dtype, seed=seed)
    values = keras.ops.convert_to_tensor(_uniforms(shape), "float32")
    return keras.ops.cast(keras.ops.floor(values * (maxval - minval)) + minval, dtype)


def _dropout(
    draw: _Draw, inputs: Tensor, rate: float, noise_shape: Any = None, seed: Any = None
) -> Tensor:
    shape = tuple(inputs.shape)
    if noise_shape is not None:
        shape = tuple(
            own if length is None else length
            for own, length in zip(shape, noise_shape, strict=True)
        )
    if not _is_known(shape):
        return draw(inputs, rate, noise_shape=noise_shape, seed=seed)
    is_kept = keras.ops.convert_to_tensor(_uniforms(shape) >= rate)
    zeros = keras.ops.zeros_like(inputs)
    if rate >= 1:
        return zeros
    return keras.ops.where(is_kept, inputs / (1 - rate), zeros)
