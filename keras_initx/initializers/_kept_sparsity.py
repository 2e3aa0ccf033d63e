"""Sparse weights that stay sparse while they are trained."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras

from keras_initx._typing import Array, KerasConstraint, Shape, Tensor
from keras_initx.backends import backend
from keras_initx.initializers._sparse import Sparse


@keras.saving.register_keras_serializable(package="initx")
class KeepSparse(KerasConstraint):
    """Hold the zeros of `Sparse` at zero while a model is trained.

    A constraint, given to a layer beside the initializer, which it needs to know where the zeros are. Keras applies
    it after each step, whatever the optimizer and whoever wrote the loop, so that the weights between are trained and
    the zeros are exactly zero. Which they are follows from the initializer's seed: nothing is saved with the model
    but the initializer's config, and a loaded model goes on with the same zeros, on any backend.

    Args:
        initializer: A `Sparse` with an integer `seed`, the one of the layer. For a kernel of more than two dimensions
            it needs both `input_axes` and `output_axes`: some layers fill in what is missing, and a constraint cannot
            know with what.

    Raises:
        TypeError: If `initializer` is not a `Sparse`, or its seed is no integer.
        ValueError: When called, if the shape has more than two dimensions and `initializer` not both axes.

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
                "`initializer` must have an integer `seed`, from which the zeros can be known again. "
                f"Received: initializer={initializer!r}"
            )
        self.initializer: Sparse = given
        self._masks: dict[Shape, Array] = {}
        self._tensors: dict[Shape, Tensor] = {}

    def __call__(self, w: keras.Variable | Tensor) -> Tensor:
        """Return the values of `w` with zeros where the initializer has them.

        Args:
            w: A variable or a tensor, of the shape of the kernel.
        """
        values = keras.ops.convert_to_tensor(w)
        # Not a product: what is infinite or not a number becomes zero too.
        return keras.ops.where(self._mask(tuple(w.shape)), values, keras.ops.zeros_like(values))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as a JSON-serializable dict."""
        return {"initializer": keras.saving.serialize_keras_object(self.initializer)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.initializer!r})"

    @backend.untransformed
    def _mask(self, shape: Shape) -> Tensor:
        """Return where a kernel of `shape` has connections, as booleans."""
        if shape not in self._masks:
            # In a trace the initializer would become part of the program, to be run at each step. A new thread is
            # outside of every trace.
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
