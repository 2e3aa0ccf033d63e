"""The TensorFlow backend: graphs, transfers by DLPack, gradients by tape."""

import contextlib
import functools
import math
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends._backend import Backend, Function, apply_present
from keras_initx.backends._moments import Moments
from keras_initx.backends._process import SharedByThreads

_LARGE = 1 << 16  # size in bytes above which DLPack is cheaper than copying


@SharedByThreads
@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    allowed = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(allowed)


class Implementation(Backend):
    """Implementation for TensorFlow."""

    compiles_shapes = True

    def is_tracing(self) -> bool:
        return not tf.executing_eagerly()

    def is_concrete(self, tensor: Tensor) -> bool:
        return not tf.is_symbolic_tensor(tensor)

    def to_tensor(self, array: Array) -> Tensor:
        is_small = array.nbytes < _LARGE or array.ctypes.data % self.alignment
        if is_small or array.dtype.name.startswith("float8"):  # which DLPack does not have
            return tf.constant(array)  # takes a third of the time of Keras
        # Not copied: the first touch of fresh memory costs more than computing the values, so a
        # copy would double the time. Both `bitcast` and `identity` move the tensor to the current
        # device.
        if array.dtype.name == "bfloat16":
            # DLPack cannot read it from NumPy, so its bits are passed as integers.
            bits = array.view("int16").__dlpack__()
            return tf.bitcast(tf.experimental.dlpack.from_dlpack(bits), "bfloat16")
        return tf.identity(tf.experimental.dlpack.from_dlpack(array.__dlpack__()))

    def snapshot(self, value: Tensor) -> Tensor:
        with self.outside_of_programs():
            return super().snapshot(value)

    def outside_of_programs(self) -> contextlib.AbstractContextManager[Any]:
        return cast(contextlib.AbstractContextManager[Any], tf.init_scope())

    def device_names(self, value: Tensor) -> list[str]:
        # "/job:localhost/replica:0/task:0/device:CPU:0"
        return [value.device.rpartition("device:")[2].lower()]

    def host_view(self, value: Any) -> Array:
        if not isinstance(value, tf.Tensor | tf.Variable | tf.distribute.DistributedValues):
            return super().host_view(value)
        tensor = tf.convert_to_tensor(value)
        if not tensor.shape.rank:
            return np.asarray(tensor.numpy())  # NumPy gets no bfloat16 from the tensor itself
        return np.asarray(tensor)  # Keras would copy

    def on_accelerator(self) -> bool:
        device = tf.fill([1], 0.0).device  # an operation that every device supports
        # On macOS TensorFlow compiles for no GPU. A TPU may look up a table more slowly than the
        # host.
        return sys.platform != "darwin" and not ("CPU" in device or "TPU" in device)

    def program(self, function: Function) -> Function:
        traced = tf.function(function, jit_compile=True, autograph=False)
        programs: list[Any] = []

        def call(*arguments: Any) -> Any:
            if not programs:
                with tf.device(None):  # may be used on another device later
                    programs.append(traced.get_concrete_function(*arguments))
            return programs[0](*arguments)

        return cast(Function, call)

    def joined(
        self, block: Callable[[int], Tensor], length: int, shape: Shape, dtype: DType
    ) -> Tensor:
        if dtype == "int32":  # which TensorFlow keeps on the host

            def bits(first: int) -> Tensor:
                return tf.bitcast(block(first), "float32")

            return tf.bitcast(self.joined(bits, length, shape, "float32"), dtype)
        size = math.prod(shape)
        # Rows can be updated in place, and a prefix of whole 64 bytes shares their memory.
        rows = tf.raw_ops.Empty(shape=[-(-size // length), length], dtype=dtype)
        one_row = tf.constant([1, length])
        for row, first in enumerate(range(0, size, length)):
            # `tf.reshape` takes as long as the rest.
            values = tf.raw_ops.Reshape(tensor=block(first), shape=one_row)
            rows = tf.raw_ops.InplaceUpdate(x=rows, i=tf.constant([row]), v=values)
        return tf.reshape(tf.reshape(rows, (-1,))[:size], shape)

    def full_precision(self) -> contextlib.AbstractContextManager[None]:
        return _full_precision

    def untransformed(self, function: Function) -> Function:
        return cast(Function, tf.autograph.experimental.do_not_convert(function))

    @contextlib.contextmanager
    def preserve_foreign_state(
        self, layers: Sequence[keras.Layer], trained: Sequence[keras.Variable] = ()
    ) -> Iterator[None]:
        # Those of saved models, and those that a `tf.function` of the user assigns, where Keras
        # does not see it.
        former = []
        trained_ids = set(map(id, trained))
        for layer in layers:
            for variable in _assigned_in_graphs(layer):
                if id(variable) not in trained_ids:
                    former.append((variable.value, variable.value.numpy()))
        try:
            yield
        finally:
            for value, numbers in former:
                value.assign(numbers)

    @contextlib.contextmanager
    def untraced(self) -> Iterator[None]:
        former = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(former)

    def advance_generators(self) -> None:
        super().advance_generators()
        tf.random.uniform(())

    def replicas(self) -> int:
        return int(tf.distribute.get_strategy().num_replicas_in_sync)

    def gradient_norms(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
    ) -> Callable[..., list[float]]:
        # Keras has divided the loss by the number of replicas.
        scale = self.replicas()
        gradients_of = self._gradients_of(function, variables, layers, lambda loss: loss * scale)

        def norms(*arguments: Any) -> list[float]:
            _, gradients = gradients_of(*arguments)
            return [self._norm(gradient) for gradient in gradients]

        return norms

    def gradient_values(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
        arguments: Sequence[Any],
    ) -> list[Array | None]:
        gradients_of = self._gradients_of(function, variables, layers, lambda loss: loss)
        _, gradients = gradients_of(*arguments)
        gradient_arrays: list[Array | None] = []
        for gradient in gradients:
            # That of an embedding is sparse.
            dense = None if gradient is None else tf.convert_to_tensor(gradient)
            gradient_arrays.append(None if dense is None else self.host_view(dense))
        return gradient_arrays

    def descend(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
        optimizer: keras.optimizers.Optimizer,
        arguments: Sequence[Any],
        steps: int,
    ) -> Generator[float, None, None]:
        with self.carry_state(layers, variables) as carried:
            gradients_of = self._gradients_of(
                function, variables, layers, optimizer.scale_loss, carried
            )
            for _ in range(steps):
                value, gradients = gradients_of(*arguments)
                yield float(value)
                apply_present(optimizer, gradients, variables)

    def _gradients_of(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
        scaled: Callable[[Tensor], Tensor],
        kept: Callable[[], contextlib.AbstractContextManager[Any]] | None = None,
    ) -> Callable[..., tuple[Tensor, list[Any]]]:
        """Return a function that gives the value of `function`, and its gradients once scaled.

        State is kept by a context of its own, by default by `preserve_state`.
        """
        if kept is None:
            kept = functools.partial(self.preserve_state, layers, gradients=variables)
        # Layers called outside of a replica use the first copy of a mirrored variable.
        sources = []
        for variable in variables:
            value = variable.value
            if isinstance(value, tf.distribute.DistributedValues):
                value = value.values[0]
            sources.append(value)

        def gradients_of(*arguments: Any) -> tuple[Tensor, list[Any]]:
            with tf.GradientTape() as tape, kept():
                value = function(*arguments)
                # This calls rematerialized layers again.
                gradients: list[Any] = tape.gradient(scaled(value), sources)
            return value, gradients

        # What Keras does in float8 has gradients in a compiled function only.
        if any(layer.quantization_mode == "float8" for layer in layers):
            return cast(Callable[..., tuple[Tensor, list[Any]]], tf.function(gradients_of))
        return gradients_of

    def _norm(self, gradient: Any) -> float:
        if gradient is None:
            return 0.0
        if isinstance(gradient, tf.IndexedSlices):
            # That of an embedding has a row for each use, and as a tensor would have one for each
            # row of the table.
            used, places = tf.unique(gradient.indices)
            gradient = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(used))
        return Moments(self.host_view(gradient)).norm


def _assigned_in_graphs(layer: keras.Layer) -> list[keras.Variable]:
    """Return the variables that graphs of TensorFlow assign when `layer` is called."""
    if isinstance(layer, keras.layers.TFSMLayer):
        return list(layer.variables)
    if isinstance(type(layer).call, tf.types.experimental.GenericFunction):
        return list(layer.non_trainable_variables)
    return []
