"""A constraint that keeps sparse weights sparse during training."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras

from keras_initx._typing import Array, KerasConstraint, Shape, Tensor
from keras_initx.backends import backend
from keras_initx.initializers._sparse import Sparse


@keras.saving.register_keras_serializable(package="initx")
class KeepSparse(KerasConstraint):
    """Keep the zeros of `Sparse` at zero during training.

    Pass it to a layer as the constraint of a weight, together with the `Sparse` initializer of that
    weight. Keras applies it after each update, with any optimizer and in custom training loops:
    connected weights are trained, all others stay exactly zero. The positions of the zeros follow
    from the initializer's seed. Only the initializer's config is saved with the model, and a loaded
    model keeps the same zeros on any backend.

    Args:
        initializer: The `Sparse` initializer of the layer, with an integer `seed`. For a kernel of
            more than two dimensions it needs both `input_axes` and `output_axes`: some layers fill
            in missing axes, which a constraint cannot see.

    Raises:
        TypeError: If `initializer` is not a `Sparse`, or its seed is not an integer.
        ValueError: When called, if the shape has more than two dimensions and `initializer` lacks
            `input_axes` or `output_axes`.

    Example:
        >>> import numpy as np
        >>> sparse = Sparse(2, seed=1)
        >>> layer = keras.layers.Dense(3, kernel_initializer=sparse, kernel_constraint=KeepSparse(sparse))
        >>> model = keras.Sequential([keras.Input((5,)), layer])
        >>> model.compile("adam", "mse")
        >>> _ = model.fit(np.ones((8, 5)), np.ones((8, 3)), verbose=0)
        >>> int(np.count_nonzero(keras.ops.convert_to_numpy(layer.kernel)))
        6
    """

    def __init__(self, initializer: Sparse) -> None:
        given: Any = initializer
        if isinstance(given, dict):  # from a saved model
            given = keras.saving.deserialize_keras_object(given)
        if not isinstance(given, Sparse):
            raise TypeError(f"`initializer` must be a `Sparse`. Received: initializer={initializer!r}")
        if not isinstance(given.get_config()["seed"], int):
            raise TypeError(
                "`initializer` must have an integer `seed`, which determines the positions of the zeros. "
                f"Received: initializer={initializer!r}"
            )
        self.initializer: Sparse = given
        self._masks: dict[Shape, Array] = {}
        self._tensors: dict[Shape, Tensor] = {}

    def __call__(self, w: keras.Variable | Tensor) -> Tensor:
        """Return `w` with the positions of the initializer's zeros set to zero.

        Args:
            w: A variable or a tensor with the shape of the kernel.
        """
        values = keras.ops.convert_to_tensor(w)
        # Not a product: infinities and NaNs become zero too.
        return keras.ops.where(self._mask(tuple(w.shape)), values, keras.ops.zeros_like(values))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as a JSON-serializable dict."""
        return {"initializer": keras.saving.serialize_keras_object(self.initializer)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.initializer!r})"

    @backend.untransformed
    def _mask(self, shape: Shape) -> Tensor:
        """Return a boolean mask of the connections in a kernel of `shape`."""
        if shape not in self._masks:
            # Inside a trace the initializer would become part of the program and run at each step. A new thread is
            # outside of any trace.
            with ThreadPoolExecutor(1) as executor:
                self._masks[shape] = executor.submit(self._connections, shape).result()
        if backend.is_tracing():
            return keras.ops.convert_to_tensor(self._masks[shape])
        if shape not in self._tensors:
            self._tensors[shape] = keras.ops.convert_to_tensor(self._masks[shape])
        return self._tensors[shape]

    def _connections(self, shape: Shape) -> Array:
        if len(shape) > 2 and None in (self.initializer.input_axes, self.initializer.output_axes):
            raise ValueError(
                "`initializer` must have both `input_axes` and `output_axes` for a kernel of more than two dimensions. "
                f"Received: initializer={self.initializer!r}, shape={shape}"
            )
        connected: Array = keras.ops.convert_to_numpy(self.initializer(shape, "float32")) != 0
        return connected
