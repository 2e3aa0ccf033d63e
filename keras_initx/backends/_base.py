"""The protocol of a backend, and what serves one that only has arrays, such as NumPy or OpenVINO."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import keras
import numpy as np

from keras_initx._typing import Array, DType, Shape, Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
# A function of an int32 tensor that returns two int32 tensors of one length.
Blocks = Callable[[Tensor], tuple[Tensor, Tensor]]


class Backend:
    """What this package needs of a backend beyond `keras.ops`.

    The methods here are right for a backend that carries out each operation at once and derives nothing. A subclass
    replaces those in which its backend differs.

    Attributes:
        alignment: `to_tensor` takes over arrays that begin at a multiple of so many bytes, if it takes over any.
        compiles_shapes: Whether `program` compiles a function again for arguments and results of other shapes.
    """

    alignment: int = 64
    compiles_shapes: bool = False

    def is_abstract(self) -> bool:
        """Return whether new tensors have a shape and a dtype but no values."""
        return False

    def is_tracing(self) -> bool:
        """Return whether operations are being recorded into a program instead of being carried out."""
        return False

    def is_concrete(self, tensor: Tensor) -> bool:
        """Return whether `tensor` is one whose values can be looked at, not one that stands for them in a program."""
        return True

    def available_dtype(self, dtype: DType) -> DType:
        """Return the name of the dtype that tensors have here when `dtype` is asked for."""
        return dtype

    def to_tensor(self, array: Array) -> Tensor:
        """Hand an array that nobody else will write to over to the backend, without a copy where it allows that."""
        return keras.ops.convert_to_tensor(array)

    def host_view(self, tensor: Tensor) -> Array:
        """Return the values of `tensor` as an array, to be read only: it may share the memory."""
        return np.asarray(keras.ops.convert_to_numpy(tensor))

    def compiled(self, function: Blocks) -> Callable[[Array], Array] | None:
        """Return `function` compiled for the CPU, or `None` if the backend has no compiler, or does not use the CPU.

        Args:
            function: A function of an int32 tensor that returns two int32 tensors of one length.

        Returns:
            A function of an int32 array that returns the elements of both results in turn, as uint32.
        """
        return None

    def on_accelerator(self) -> bool:
        """Return whether Keras puts a new variable on a GPU, a TPU or the like, in the scopes that are open here."""
        return False

    def has_triton(self) -> bool:
        """Return whether kernels of Triton run where Keras puts a new variable."""
        return False

    def launching(self, tensor: Tensor) -> AbstractContextManager[Any]:
        """Return a context in which Triton launches kernels where `tensor` is."""
        return contextlib.nullcontext()

    def program(self, function: Function) -> Function:
        """Return `function`, of tensors alone, compiled for the device in use, or as it is without a compiler."""
        return function

    def joined(self, block: Callable[[int], Tensor], length: int, shape: Shape, dtype: DType) -> Tensor:
        """Return blocks of elements as one tensor, which is made on the device in use.

        Args:
            block: Function from the number of the first element to a vector of `length`, in `dtype`. What it gives
                beyond the last element of the tensor is dropped.
            length: The length of a block.
            shape: Shape of the tensor.
            dtype: Dtype of the tensor.
        """
        size = math.prod(shape)
        blocks = [block(first) for first in range(0, size, length)] or [keras.ops.zeros((0,), dtype)]
        return keras.ops.reshape(keras.ops.concatenate(blocks)[:size], shape)

    def contiguous(self, tensor: Tensor) -> Tensor:
        """Return `tensor` with its elements in the order of their indices, if others can be told."""
        return tensor

    def full_precision(self) -> AbstractContextManager[Any]:
        """Return a context in which float32 matrix products are not rounded to fewer bits, as on GPUs."""
        return contextlib.nullcontext()

    def optimization_barrier(self, tensor: Tensor) -> Tensor:
        """Return `tensor`, which is part of a trace, as something that is computed once and lies where it is used."""
        return tensor

    def next_seed(self, generator: keras.random.SeedGenerator) -> Tensor:
        """Advance `generator` and return its two seed words, without leaving a tracer in its state."""
        return generator.next()

    def untransformed(self, function: Function) -> Function:
        """Keep the backend from rewriting `function` and what it calls."""
        return function

    @contextlib.contextmanager
    def preserve_state(self, layers: Sequence[keras.Layer], *, gradients: bool = False) -> Iterator[None]:
        """Give a context in which whatever a model does to its own state, or to a random generator, is dropped.

        Args:
            layers: The layers of the model. Some keep state that Keras does not know.
            gradients: Whether what happens is recorded for a backward pass.
        """
        # In a scope, Keras looks for what it regularizes among the values that the scope was given.
        weights = {id(weight): weight for layer in layers for weight in layer.trainable_variables}
        regularized = [(weight, weight.value) for weight in weights.values() if weight.regularizer is not None]
        # The counters of random generators are variables too, also of the one that Keras shares.
        with keras.StatelessScope(regularized, collect_losses=True), self.preserve_foreign_state(layers):
            yield

    def preserve_foreign_state(self, layers: Sequence[keras.Layer]) -> AbstractContextManager[Any]:
        """Return a context after which what `layers` keep past Keras is as it was."""
        return contextlib.nullcontext()

    def derivative(
        self, function: Callable[..., Any], variables: Sequence[keras.Variable], layers: Sequence[keras.Layer]
    ) -> Callable[..., list[Array]]:
        """Return a function that derives `function` with respect to `variables`, and leaves all state as it was.

        Args:
            function: A function that gives a scalar tensor, of arrays or lists and dicts of them.
            variables: Variables of Keras.
            layers: The layers that `function` calls.

        Returns:
            A function of the same arguments that returns a list with an array, in float32, for each variable; zeros for
            those that play no part. It may compile at its first call, and takes the values that the variables of
            `layers` have at each call.

        Raises:
            NotImplementedError: If the backend has no gradients.
        """
        if not variables:
            return lambda *arguments: []
        derived = self._derivative(function, variables, layers)

        def gradients(*arguments: Any) -> list[Array]:
            return [np.asarray(keras.ops.convert_to_numpy(found), "float32") for found in derived(*arguments)]

        return gradients

    def _derivative(
        self, function: Callable[..., Any], variables: Sequence[keras.Variable], layers: Sequence[keras.Layer]
    ) -> Callable[..., Sequence[Tensor]]:
        """Return what `derivative` returns, but it gives tensors."""
        raise NotImplementedError(
            "gradients need a backend that derives, JAX, TensorFlow or torch: set KERAS_BACKEND to one of them. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )
