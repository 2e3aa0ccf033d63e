"""JAX: traces, arrays without a program for each shape, gradients as one program."""

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import jax
import keras
import numpy as np

from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends._base import Backend, Blocks, Function


class Implementation(Backend):
    """What this package needs of JAX."""

    compiles_shapes = True

    def is_tracing(self) -> bool:
        state, outside = trace_state()
        # Of all operations negation takes least time, but outside of traces it would be compiled first.
        return state() != outside and isinstance(jax.lax.neg(1.0), jax.core.Tracer)

    def is_concrete(self, tensor: Tensor) -> bool:
        return not isinstance(tensor, jax.core.Tracer)

    def available_dtype(self, dtype: DType) -> DType:
        # Without x64 JAX gives float32 for float64.
        return str(jax.dtypes.canonicalize_dtype(dtype)) if dtype == "float64" else dtype

    def to_tensor(self, array: Array) -> Tensor:
        # Unlike jax.numpy.asarray, it compiles no program for each shape. It takes over aligned arrays.
        return jax.device_put(array)

    def compiled(self, function: Blocks) -> Callable[[Array], Array] | None:
        try:
            cpu = jax.local_devices(backend="cpu")[0]
        except RuntimeError:  # JAX was told to use other platforms only
            return None

        def both(argument: Tensor) -> Tensor:
            # As one number, because the compiler would make two loops of two results, each with all of the work.
            return jax.lax.complex(*(jax.lax.bitcast_convert_type(part, "float32") for part in function(argument)))

        program = jax.jit(both)

        def call(argument: Array) -> Array:
            with jax.default_device(cpu):
                return np.asarray(program(argument)).view("uint32")

        return call

    def on_accelerator(self) -> bool:
        device = jax.config.jax_default_device or jax.devices()[0]
        return str(getattr(device, "platform", device)) != "cpu"  # in newer versions it may be the name of a platform

    def program(self, function: Function) -> Function:
        program: Function = jax.jit(function)
        return program

    def joined(self, block: Callable[[int], Tensor], length: int, shape: Shape, dtype: DType) -> Tensor:
        size = math.prod(shape)
        if size <= length:
            return _beginning(block(0), shape) if size else jax.numpy.zeros(shape, dtype)
        flat = jax.numpy.empty((size,), dtype)
        for first in range(0, size, length):
            first = min(first, size - length)  # an update that leads beyond the end would be moved
            flat = _updated(flat, block(first), np.uint32(first))
        with warnings.catch_warnings():
            # Older versions of JAX copy where the shape differs, and say so.
            warnings.filterwarnings("ignore", "Some donated buffers were not usable")
            return _reshaped(flat, shape)

    def full_precision(self) -> AbstractContextManager[Any]:
        precision: AbstractContextManager[Any] = jax.default_matmul_precision("highest")
        return precision

    def optimization_barrier(self, tensor: Tensor) -> Tensor:
        # JAX cuts up what follows from constants alone, so that each use has its own copy. Where the place of a copy
        # does not follow from the place of the result, each device would make all of it.
        return jax.lax.optimization_barrier(tensor)

    def next_seed(self, generator: keras.random.SeedGenerator) -> Tensor:
        if self.is_tracing() and self.is_concrete(generator.state.value):
            # The trace does not know this state: it would stay behind in it as a leaked tracer.
            with jax.ensure_compile_time_eval():
                return generator.next()
        return generator.next()

    def _derivative(
        self, function: Callable[..., Any], variables: Sequence[keras.Variable], layers: Sequence[keras.Layer]
    ) -> Callable[..., Sequence[Tensor]]:
        # All that is not an argument becomes a constant of the program: frozen weights and seeds would stay the same.
        derived = {id(variable) for variable in variables}
        every = {id(variable): variable for layer in layers for variable in layer.variables}
        others = [variable for key, variable in every.items() if key not in derived]

        def value(values: Sequence[Tensor], other_values: Sequence[Tensor], arguments: Sequence[Any]) -> Tensor:
            known = zip([*variables, *others], [*values, *other_values], strict=True)
            with keras.StatelessScope(known, collect_losses=True):
                return function(*arguments)

        # Compiling it as a whole takes less time than each operation by itself.
        program = jax.jit(jax.grad(value))

        def gradients(*arguments: Any) -> Sequence[Tensor]:
            found: Sequence[Tensor] = program(_values(variables), _values(others), arguments)
            return found

        return gradients


# The programs that depend on a shape. They write into the memory of their first argument.


@functools.partial(jax.jit, static_argnums=1)
def _beginning(block: Tensor, shape: Shape) -> Tensor:
    return block[: math.prod(shape)].reshape(shape)


@functools.partial(jax.jit, donate_argnums=0)
def _updated(flat: Tensor, block: Tensor, first: Tensor) -> Tensor:
    return jax.lax.dynamic_update_slice(flat, block, (first,))


@functools.partial(jax.jit, static_argnums=1, donate_argnums=0)
def _reshaped(flat: Tensor, shape: Shape) -> Tensor:
    return flat.reshape(shape)


def _values(variables: Sequence[keras.Variable]) -> list[Tensor]:
    return [variable.value for variable in variables]


@functools.cache
def trace_state() -> tuple[Callable[[], object], object]:
    """Return a function that tells by which trace JAX records, and what it returns where operations are carried out.

    JAX does not promise to keep its own function, so where there is none every two states are different.
    """
    import jax.extend.core

    name = "get_opaque_trace_state"  # in `jax.core` before JAX 0.10
    module = jax.extend.core if hasattr(jax.extend.core, name) else jax.core
    state = functools.partial(getattr(module, name, lambda convention: object()), convention="keras_initx")
    # A new thread is outside of every trace; this one may be in one, as where `fit` builds a model.
    with ThreadPoolExecutor(1) as executor:
        return state, executor.submit(state).result()
