"""The base class of backends.

Its defaults suit backends that only have arrays, such as NumPy or OpenVINO.
"""

import contextlib
import dataclasses
import functools
import math
import random
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import keras
import numpy as np

from keras_initx._keras import (
    AssigningScope,
    observe_assignments,
    preserve_losses,
    preserve_names,
    remember_global_generator,
)
from keras_initx._received import show
from keras_initx._startup import BACKENDS
from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends._attributes import preserve_attributes
from keras_initx.backends._moments import Moments

Function = TypeVar("Function", bound=Callable[..., Any])

# Held while a seed generator advances.
_GENERATORS = threading.Lock()
# Held while the states of the global generators are kept, to be restored.
_PRESERVING = threading.RLock()


# Of an array: a slice for each axis.
Region: TypeAlias = tuple[slice, ...]


@dataclasses.dataclass(frozen=True)
class Computation:
    """How to make the values of a weight, on one or several devices.

    Attributes:
        function: Function that makes the values, on the host or in a compiled program.
        is_exact: Whether all processors make the same bits. If not, the first process makes all
            values, and the other processes that hold the weight get them from it.
        drawn_seed: The seed if it was drawn and not given. All these processes must draw the same.
        seeded_call: A function of a seed that makes the values, and the seed. Equal functions share
            a compiled program.
    """

    function: Callable[[], Tensor]
    is_exact: bool = False
    drawn_seed: int | None = None
    seeded_call: tuple[Callable[[Tensor], Tensor], Tensor] | None = None


class ChangeInPlace(NamedTuple):
    """An operation that changes a tensor in place.

    Attributes:
        tensor: The tensor.
        drawn_by: The name of the operation if it draws or fills the tensor, empty if not.
        is_load: Whether it copies values from elsewhere.
    """

    tensor: Tensor
    drawn_by: str
    is_load: bool


class Backend:
    """The operations that this package needs from a backend beyond `keras.ops`.

    The defaults suit a backend with eager execution only and without gradients. A subclass
    overrides the methods that differ in its backend.

    Attributes:
        alignment: Alignment in bytes with which `to_tensor` takes arrays over without a copy.
        compiles_shapes: Whether `program` recompiles a function for other shapes of arguments or
            results.
        block: Number of elements that a device makes at a time: enough to amortize two calls.
        worth_a_device: The least number of values that an accelerator makes. The host makes fewer.
        has_views: Whether tensors can share memory and change in place.
        householder_product: Function that multiplies reflections on a device as LAPACK's `orgqr`
            does, if the backend has one.
    """

    alignment: int = 64
    compiles_shapes: bool = False
    block: int = 1 << 22
    worth_a_device: int = 1 << 22
    has_views: bool = False
    householder_product: Callable[[Tensor, Tensor], Tensor] | None = None

    def is_tracing(self) -> bool:
        """Return whether operations are currently traced instead of executed."""
        return False

    def is_abstract(self) -> bool:
        """Return whether new tensors have a shape and a dtype but no values."""
        return False

    def is_concrete(self, tensor: Tensor) -> bool:
        """Return whether `tensor` has concrete values, i.e. is not a tracer."""
        return True

    def available_dtype(self, dtype: DType) -> DType:
        """Return the dtype that the backend uses when `dtype` is requested."""
        return dtype

    def to_tensor(self, array: Array) -> Tensor:
        """Convert an array to a tensor, without a copy if possible.

        The array must not be written to afterward.
        """
        return keras.ops.convert_to_tensor(array)

    def snapshot(self, value: Tensor) -> Tensor:
        """Return the value of a variable, for use after the variable has changed."""
        return keras.ops.copy(value)

    def wait(self, tensor: Tensor) -> None:
        """Return after `tensor` has been computed, and its inputs have been freed.

        For a small tensor it may return at once.
        """

    def obstacles(
        self, layer: keras.Layer, variables: Sequence[keras.Variable]
    ) -> Iterable[tuple[keras.Variable, str]]:
        """Return the variables of a layer that it would not use after an assignment, and why."""
        return ()

    def distributed(self, computation: Computation, shape: Shape, layout: Any) -> Tensor:
        """Return a tensor of `shape`, distributed by a layout of Keras or of the backend."""
        raise ValueError(
            f"`layout` must be `None` with {keras.backend.backend()}. "
            f"Received: layout={show(layout)}"
        )

    def placed(self, read: Callable[[Any], Array], shape: Shape, layout: Any) -> Tensor:
        """Return a tensor of `shape` in `layout`, with the regions that `read` returns.

        A region is a slice for each axis.
        """
        raise NotImplementedError

    def changed_in_parts(
        self, tensor: Tensor, change: Callable[[Region | None, Array], Array]
    ) -> Tensor:
        """Return a changed copy of a tensor in the same layout. Each device changes its part.

        Args:
            tensor: The tensor.
            change: Function of a region, `None` for the whole, and the values there, read-only. It
                returns new ones.
        """
        return self.to_tensor(change(None, self.host_view(tensor)))

    def changes_in_place(
        self, observe: Callable[[ChangeInPlace, Callable[[], Any]], Any]
    ) -> contextlib.AbstractContextManager[Any]:
        """Return a context that passes each change of a tensor in place to `observe`.

        This holds in this thread. `observe` gets the change and a function that makes it, and
        returns the result of this function.
        """
        return contextlib.nullcontext()

    def memory_address(self, tensor: Tensor) -> int:
        """Return the address of the memory that a tensor shares with its views, 0 if not known."""
        return 0

    def is_part_of(self, tensor: Tensor, whole: Tensor) -> bool:
        """Return whether a tensor is a view of `whole`, or both have the same memory."""
        return False

    def layout_of(self, value: Tensor) -> Any:
        """Return the layout of a value that is spread over devices, or `None` for others."""
        return None

    def device_names(self, value: Tensor) -> list[str]:
        """Return the devices that hold a value, e.g. `["cuda:0"]`."""
        return ["cpu"]

    def std(self, tensor: Tensor) -> float:
        """Return the standard deviation of all elements."""
        return Moments(self.host_view(tensor)).std

    def host_view(self, value: Any) -> Array:
        """Return the values of a tensor, a variable or an array, which may share their memory.

        They are read-only, and keep their dtype. Keras' `convert_to_numpy` reads no number in
        bfloat16 on TensorFlow, and no float8 on torch.

        Raises:
            ValueError: If other processes hold a part of the tensor that this process lacks.
        """
        if isinstance(value, keras.Variable):
            return self.host_view(value.value)
        return np.asarray(keras.ops.convert_to_numpy(value))

    def is_shared(self, tensor: Tensor) -> bool:
        """Return whether other processes hold a part of a tensor that this process lacks."""
        return False

    def parts(
        self, tensor: Tensor, *, counted_once: bool = False
    ) -> Iterator[tuple[Region | None, Array]]:
        """Yield the parts of a tensor in this process, each value once, as read-only arrays.

        Each has its region in the tensor, or `None` if it is the whole.

        Args:
            tensor: A tensor.
            counted_once: Whether only one process yields a part that several hold.
        """
        yield None, self.host_view(tensor)

    def is_finite(self, tensor: Tensor) -> bool:
        """Return whether all numbers of `tensor` are finite. Processes that share it agree."""
        is_finite_here = np.array([self.is_finite_here(tensor)], "uint32")
        return bool(self.from_processes(is_finite_here, tensor).all())

    def is_finite_here(self, tensor: Tensor) -> bool:
        """Return whether all numbers of `tensor` in this process are finite."""
        return bool(keras.ops.all(keras.ops.isfinite(tensor)))

    def has_nonzero(self, tensor: Tensor) -> bool:
        """Return whether any value of `tensor` is not zero. Processes that share it agree."""
        has_nonzero_here = any(values.any() for _, values in self.parts(tensor))
        return bool(self.from_processes(np.array([has_nonzero_here], "uint32"), tensor).any())

    def from_processes(self, array: Array, tensor: Tensor) -> Array:
        """Return a small array of each process that has a part of `tensor`, along a new first axis.

        All these processes must call it together.
        """
        return array[None]

    def scatter(self, places: Tensor, values: Tensor, shape: Shape) -> Tensor:
        """Return zeros of `shape` with `values` at `places`.

        All places are different, with a row for each value.
        """
        return keras.ops.scatter(places, values, shape)

    def contiguous(self, tensor: Tensor) -> Tensor:
        """Return `tensor` with a contiguous memory layout, if the backend exposes layouts."""
        return tensor

    def next_seed(self, generator: keras.random.SeedGenerator) -> Tensor:
        """Advance `generator` and return its two seed words. No tracer is left in its state."""
        # Keras reads the state and assigns the next one: in between, another thread would read it.
        with _GENERATORS:
            return generator.next()

    def on_accelerator(self) -> bool:
        """Return whether a new variable would be on an accelerator, which makes large arrays."""
        return False

    def program(self, function: Function) -> Function:
        """Compile `function`, which takes only tensors, for the current device.

        Without a compiler, return it.
        """
        return function

    def joined(
        self, block: Callable[[int], Tensor], length: int, shape: Shape, dtype: DType
    ) -> Tensor:
        """Join blocks of elements to one tensor on the current device.

        Args:
            block: Function that maps the index of the first element to a vector of `length`, in
                `dtype`. Elements after the end of the tensor are dropped.
            length: The length of a block.
            shape: Shape of the tensor.
            dtype: Dtype of the tensor.
        """
        size = math.prod(shape)
        if size == 0:
            return keras.ops.zeros(shape, dtype)
        blocks = [block(first) for first in range(0, size, length)]
        return keras.ops.reshape(keras.ops.concatenate(blocks)[:size], shape)

    def constant(self, array: Array) -> Tensor:
        """Return `array` on the current device. If it is read-only, later calls reuse it."""
        return keras.ops.convert_to_tensor(array)

    def lasting(self, array: Array, like: Tensor) -> Tensor:
        """Return `array` on the device of `like`, as a tensor that stays valid."""
        return keras.ops.convert_to_tensor(array)

    def triton_device(self) -> str | None:
        """Return the device of a new variable, if Triton is installed and has kernels for it."""
        return None

    def device_of(self, tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which Triton kernels run on the device of `tensor`."""
        return contextlib.nullcontext()

    def guarded(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context that makes an index out of range of new tensors an error at most.

        Without it, torch on a GPU could compute nothing more in this process.
        """
        return contextlib.nullcontext()

    def full_precision(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context that gives float32 matrix products full precision, also on GPUs."""
        return contextlib.nullcontext()

    def outside_of_programs(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context that runs operations at once, even while `fit` traces a program."""
        return contextlib.nullcontext()

    def optimization_barrier(self, tensor: Tensor) -> Tensor:
        """Return a traced `tensor` that is computed once and kept until it is used."""
        return tensor

    def untransformed(self, function: Function) -> Function:
        """Prevent the backend from rewriting `function` and the functions that it calls."""
        return function

    @contextlib.contextmanager
    def preserve_state(
        self,
        layers: Sequence[keras.Layer],
        *,
        gradients: Sequence[keras.Variable] | None = None,
    ) -> Iterator[keras.StatelessScope]:
        """Yield a scope that discards changes to the state of a model and of Keras.

        Losses that calls add to `model.losses` are state too. So are plain attributes of layers,
        and the state of `globals_preserved`.

        Args:
            layers: The model and the layers within it. Some have state that Keras does not track.
            gradients: The weights whose gradients are computed, so that operations are recorded for
                a backward pass. In this pass they have the values that a call assigns.
        """
        # Inside a scope, Keras looks up regularized variables in the values of the scope.
        weights: dict[int, keras.Variable] = {}
        for layer in layers:
            weights.update((id(weight), weight) for weight in layer.trainable_variables)
        regularized = [
            (weight, weight.value) for weight in weights.values() if weight.regularizer is not None
        ]
        # The counters of Keras' random generators are variables too, including the global one.
        with (
            preserve_losses(layers[0]),
            preserve_attributes(layers),
            AssigningScope(gradients or (), self.snapshot, regularized) as scope,
            self.preserve_foreign_state(layers),
            self.globals_preserved(),
        ):
            yield scope

    @contextlib.contextmanager
    def carry_state(
        self, layers: Sequence[keras.Layer], variables: Sequence[keras.Variable]
    ) -> Iterator[Callable[[], contextlib.AbstractContextManager[None]]]:
        """Yield a function that returns contexts for changes of state as in training.

        All changes are put back at the end of the block.

        Args:
            layers: The model and the layers within it.
            variables: The weights that are trained meanwhile. They are not put back.
        """
        trained = set(map(id, variables))
        former: dict[int, tuple[keras.Variable, Tensor]] = {}

        def keep(variable: keras.Variable, value: Tensor) -> None:
            if id(variable) not in trained and id(variable) not in former:
                former[id(variable)] = variable, self.snapshot(value)

        with (
            preserve_losses(layers[0]),
            preserve_attributes(layers),
            self.preserve_foreign_state(layers, variables),
            self.globals_preserved(),
        ):
            try:
                yield lambda: observe_assignments(keep)
            finally:
                for variable, value in former.values():
                    variable.assign(value)

    @contextlib.contextmanager
    def generators_preserved(self) -> Iterator[None]:
        """Yield a context that restores the global random generators at its end.

        Other threads that preserve them wait, because one thread would undo the draws of the other.
        """
        with _PRESERVING:
            put_back = self.kept_generators()
            try:
                yield
            finally:
                put_back()

    @contextlib.contextmanager
    def globals_preserved(self) -> Iterator[None]:
        """Yield a context for making layers, optimizers and initializers that are then dropped.

        The next objects get the seeds and automatic names that they would get without it.
        """
        with self.generators_preserved(), preserve_names():
            yield

    def kept_generators(self) -> Callable[[], None]:
        """Return a function that restores the present states of the global random generators.

        These are the generators of Python, of NumPy and of the backend in this process. If Keras
        makes a global generator later, it is dropped.
        """
        forget = remember_global_generator()
        of_python = random.getstate()
        of_numpy = np.random.get_state(legacy=False)  # noqa: NPY002, which a model may draw from

        def put_back() -> None:
            forget()
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002

        return put_back

    @contextlib.contextmanager
    def untraced(self) -> Iterator[None]:
        """Yield a context in which a user's compiled functions leave no programs behind.

        Such a program would keep settings that are only changed for a while.
        """
        yield

    def advance_generators(self) -> None:
        """Draw a number from each of the global random generators that `kept_generators` keeps."""
        random.random()
        np.random.random()  # noqa: NPY002, which a model may draw from

    def compiled_once(self, step: Function) -> Function | None:
        """Return a step of training or evaluation that is compiled, or `None` for Keras' own way.

        A program is compiled once in a process, also for the steps of several models.

        Args:
            step: Function of the state and the data. It may overwrite the state.
        """
        return None

    def buffers(self, layers: Sequence[keras.Layer]) -> list[Any]:
        """Return the arrays of `layers` outside of Keras' variables, with `value` and `assign`."""
        return []

    def saved_buffers(self, layer: keras.Layer) -> dict[str, Any]:
        """Return the buffers that torch saves for a layer or the module in it, by name."""
        return {}

    def preserve_foreign_state(
        self, layers: Sequence[keras.Layer], trained: Sequence[keras.Variable] = ()
    ) -> contextlib.AbstractContextManager[Any]:
        """Return a context that restores state of `layers` that Keras does not track.

        Args:
            layers: The layers.
            trained: Weights that are trained meanwhile. They are not put back.
        """
        return contextlib.nullcontext()

    def trains(self, variable: keras.Variable) -> bool:
        """Return whether training changes a trainable `variable`.

        The backend may have more information on this than Keras.
        """
        return True

    def values_behind(self, tensor: Tensor) -> list[Tensor] | None:
        """Return the values of trained variables that a tensor was computed from.

        It is `None` if the backend does not show them.
        """
        return None

    def replicas(self) -> int:
        """Return the number by which Keras divides the mean loss of a batch.

        Each replica has a part of the batch.
        """
        return 1

    def gradient_norms(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
    ) -> Callable[..., list[float]]:
        """Return a function that computes norms of gradients of `function`, without changing state.

        Args:
            function: A function of arrays, or lists and dicts of them, that returns a scalar
                tensor.
            variables: Keras variables.
            layers: The layers that `function` calls, the model first. Compiled programs are kept as
                long as the model lives, and used again if `function` computes the same.

        Returns:
            A function of the same arguments that returns the norm of the gradient with respect to
            each variable; 0 for unused variables. It uses the current values of the variables of
            `layers` at each call.

        Raises:
            NotImplementedError: If the backend has no gradients.
        """
        raise self._without_gradients()

    def gradient_values(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
        arguments: Sequence[Any],
    ) -> list[Array | None]:
        """Return the gradients of a function, on the host, without changing state.

        A gradient is `None` if the value is not computed from the variable at all, not even by a
        product with 0.

        Args:
            function: See `gradient_norms`.
            variables: Keras variables.
            layers: See `gradient_norms`.
            arguments: The arguments of `function`.

        Raises:
            NotImplementedError: If the backend has no gradients.
        """
        raise self._without_gradients()

    def descend(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
        optimizer: keras.optimizers.Optimizer,
        arguments: Sequence[Any],
        steps: int,
    ) -> Generator[float, None, None]:
        """Yield the value of `function` before each step of `optimizer`.

        The steps change `variables` and the optimizer. Other state that `function` changes goes on
        from step to step, as in training. It is put back when the generator is closed.

        Args:
            function: See `gradient_norms`.
            variables: Keras variables.
            layers: See `gradient_norms`.
            optimizer: An optimizer that is built with `variables`.
            arguments: The arguments of `function`.
            steps: The number of steps. The last step follows the last value.

        Raises:
            NotImplementedError: If the backend has no gradients.
        """
        raise self._without_gradients()

    def _without_gradients(self) -> NotImplementedError:
        return NotImplementedError(
            f"gradients need one of the backends {BACKENDS}: set KERAS_BACKEND to one of them. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )


def apply_present(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Tensor | None],
    variables: Sequence[keras.Variable],
) -> None:
    """Take a step of `optimizer` for the variables with a gradient. Keras warns about others."""
    present = []
    for gradient, variable in zip(gradients, variables, strict=True):
        if gradient is not None:
            present.append((gradient, variable))
    optimizer.apply([gradient for gradient, _ in present], [variable for _, variable in present])


def kept_on(device: Any, array: Array) -> Tensor:
    """Return `array` on `device`, the current device, and keep it there if it is read-only."""
    if array.flags.writeable:
        return keras.ops.convert_to_tensor(array)
    return _kept(_Constant(array), device)


class _Constant:
    """An array as the key of a cache. Keys are equal if they view the same memory in the same way.

    The key keeps this memory from being reused.
    """

    def __init__(self, array: Array) -> None:
        self.array = array
        self._view = array.ctypes.data, array.shape, array.strides, array.dtype

    def __hash__(self) -> int:
        return hash(self._view)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Constant) and self._view == other._view


@functools.lru_cache(maxsize=16)
def _kept(constant: _Constant, device: Any) -> Tensor:
    return keras.ops.convert_to_tensor(constant.array)
