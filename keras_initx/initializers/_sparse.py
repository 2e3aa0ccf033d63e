"""Sparse initial weights, and a constraint that keeps them sparse."""

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from keras_initx._checks import check_count, check_number, check_type
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx._typing import Array, AxesLike, DType, Gain, KerasConstraint, Seed, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.initializers._as_ours import adapt_initializer
from keras_initx.initializers._initializer import Initializer, check_largest, register
from keras_initx.initializers._laws import NormalLaw, SparseLaw
from keras_initx.initializers._scale import MatrixInitializer, check_gain, gain_value
from keras_initx.sampling._conversion import LEAST
from keras_initx.sampling._stream import Stream
from keras_initx.sampling._subsets import sparse_normal

_DEFAULT_CONNECTIONS = 10


@register(
    "sparse",
    formula="k of n inputs ~ N(0, gain² / k), the others 0",
    use=(
        "each unit starts connected to a few random inputs: an alternative to dense weights that "
        "shrink with the width"
    ),
)
class Sparse(MatrixInitializer):
    """Connect each unit to a fixed number of randomly chosen inputs; all other weights are zero.

    Unit `j` of a kernel is the slice `[..., j]`, unless `input_axes` or `output_axes` are given.
    Exactly `k` of its `n` weights are nonzero; their positions are chosen uniformly at random,
    their values from `N(0, stddev^2)`. The scale of a unit's input does not depend on the width of
    the previous layer, and units differ from each other from the first step. A unit with fewer than
    `k` inputs is connected to all of them.

    A weight that the dtype would round to zero becomes the number next to zero instead, with its
    sign: 6e-8 in float16, 1.2e-38 in bfloat16 and float32. Inside another initializer this holds
    for float32, because that initializer computes in float32.

    Since Keras 3.15, `EinsumDense` and the attention layers set the axes themselves. For other
    layers you set them: `input_axes=[0, 1]` for a `DepthwiseConv2D`, where each unit has a window
    of a single channel, and `[0, 1, 3]` for a `Conv2DTranspose`.

    Args:
        connections: Number of inputs of each unit, `k`. The default is 10, unless `sparsity` is
            given.
        sparsity: Fraction of weights that are zero, in `[0, 1)`. Each unit keeps at least one
            connection. Cannot be combined with `connections`.
        stddev: Standard deviation of the nonzero weights. The default, `gain / sqrt(k)`, preserves
            the variance of the input. Textbooks use 0.01 to 1.
        gain: Factor in the default `stddev`: a number, or the name of an activation (`"relu"`).
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        input_axes: List of the axes of the kernel that are inputs. By default all that are not in
            `output_axes`.
        output_axes: List of the axes of the kernel that are units. By default all that are not in
            `input_axes`, or the last axis if neither is given.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or if both `connections` and `sparsity`, or both
            `stddev` and `gain`, are given; when called, if the shape has fewer than two dimensions
            and no axes are given, if the given axes do not list each axis exactly once, or if the
            standard deviation is below the smallest number of the dtype.

    Example:
        >>> import numpy as np
        >>> kernel = Sparse(connections=3, seed=0)((64, 32))
        >>> kernel = keras.ops.convert_to_numpy(kernel)
        >>> np.unique((kernel != 0).sum(axis=0)).tolist()
        [3]
        >>> layer = keras.layers.Dense(32, kernel_initializer="initx.sparse")
        >>> sparse = Sparse(connections=4, input_axes=[0, 1])
        >>> layer = keras.layers.DepthwiseConv2D(3, depthwise_initializer=sparse)

    Reference:
        Martens, "Deep learning via Hessian-free optimization", ICML 2010, section 5.
    """

    @shorten_signature
    def __init__(
        self,
        connections: int | None = None,
        *,
        sparsity: float | None = None,
        stddev: float | None = None,
        gain: Gain = 1.0,
        seed: Seed = None,
        input_axes: AxesLike = None,
        output_axes: AxesLike = None,
    ) -> None:
        super().__init__(seed=seed, input_axes=input_axes, output_axes=output_axes)
        self.gain: Gain = check_gain(gain)
        if connections is not None:
            _check_connections(connections)
        if sparsity is not None:
            check_number("sparsity", sparsity)
        if stddev is not None:
            check_number("stddev", stddev, positive=True)
        if sparsity is not None and not 0 <= sparsity < 1:
            raise ValueError(f"`sparsity` must be in [0, 1). Received: sparsity={show(sparsity)}")
        if sparsity is not None and connections is not None:
            raise ValueError(
                "Only one of `connections` and `sparsity` can be given. "
                f"Received: connections={show(connections)}, sparsity={show(sparsity)}"
            )
        if stddev is not None and gain != 1.0:
            raise ValueError(
                "Only one of `stddev` and `gain` can be given. "
                f"Received: stddev={show(stddev)}, gain={show(gain)}"
            )
        self.connections: int | None = connections
        self.sparsity: float | None = sparsity
        self.stddev: float | None = stddev

    def law(self, shape: Shape) -> SparseLaw:
        inputs, _ = self._matrix_shape(shape)
        connections, stddev = self._sizes(inputs)
        std = stddev * math.sqrt(connections / max(inputs, 1))
        return SparseLaw(*self._axes(shape), connections, NormalLaw(0.0, stddev), std)

    def _check_dtype(self, shape: Shape, dtype: DType) -> None:
        law = self.law(shape)
        check_largest(self, law.reach, dtype)
        stddev = law.value.std
        if stddev < LEAST[dtype]:
            raise ValueError(
                f"`dtype` must be able to hold weights with a standard deviation of {stddev:.3g}; "
                f"in {dtype} the smallest number is {LEAST[dtype]:.3g}, and connections would be "
                "zero. "
                f"Received: dtype={show(dtype)}, {show(self)}"
            )

    def _draw_matrix(self, stream: Stream, inputs: int, units: int, dtype: DType) -> Tensor:
        return sparse_normal(stream, inputs, units, *self._sizes(inputs), dtype)

    def _sizes(self, inputs: int) -> tuple[int, float]:
        """Return the number of connections of a unit with `inputs` inputs, and their deviation."""
        if self.sparsity is not None:
            # Round half up: Python's `round` would round half to even.
            connections = max(1, math.floor(inputs * (1 - float(self.sparsity)) + 0.5))
        else:
            connections = self.connections or _DEFAULT_CONNECTIONS
        connections = min(int(connections), inputs)
        if self.stddev is not None:
            return connections, float(self.stddev)
        return connections, gain_value(self.gain) / math.sqrt(max(connections, 1))


def _check_connections(connections: Any) -> None:
    """Check a number of inputs, or the share of zeros that was given instead."""
    if isinstance(connections, float) and 0 < connections < 1:
        raise TypeError(
            "`connections` must be a number of inputs; for a share of zeros, pass "
            f"`sparsity={connections}`. Received: connections={show(connections)}"
        )
    check_count("connections", connections)


@keras.saving.register_keras_serializable(package="initx")
class KeepSparse(KerasConstraint):
    """Keep the zeros of `Sparse` at zero during training.

    Pass it to your layer as the constraint of a weight, together with the `Sparse` initializer of
    this weight. Keras applies it after each update, with any optimizer and in custom training
    loops: connected weights are trained, all others stay exactly zero. The positions of the zeros
    follow from the initializer's seed. Only the initializer's config is saved with the model, and a
    loaded model keeps the same zeros on any backend.

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
        >>> keep = KeepSparse(sparse)
        >>> layer = keras.layers.Dense(
        ...     3, kernel_initializer=sparse, kernel_constraint=keep
        ... )
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
        check_type("initializer", given, Sparse, "a `Sparse`")
        if not isinstance(given.get_config()["seed"], int):
            raise TypeError(
                "`initializer` must have an integer `seed`, which determines the positions of the "
                f"zeros. Received: initializer={show(initializer)}"
            )
        self.initializer: Sparse = given
        self._masks: dict[Shape, Array] = {}
        self._tensors: dict[tuple[Shape, str], Tensor] = {}

    def __call__(self, w: keras.Variable | Tensor) -> Tensor:
        """Return `w` with the positions of the initializer's zeros set to zero.

        Args:
            w: A variable or a tensor with the shape of the kernel.
        """
        values = keras.ops.convert_to_tensor(w)
        # Not a product: infinities and NaNs become zero too.
        return keras.ops.where(self._mask(values), values, keras.ops.zeros_like(values))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as a JSON-serializable dict."""
        return {"initializer": keras.saving.serialize_keras_object(self.initializer)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.initializer!r})"

    @backend.untransformed
    def _mask(self, values: Tensor) -> Tensor:
        """Return a boolean mask of the connections in a kernel with these values."""
        shape: Shape = tuple(values.shape)
        if shape not in self._masks:
            self.check_shape(shape)
            # Inside a trace the initializer would become part of the program and run at each step.
            # A new thread is outside of any trace.
            with ThreadPoolExecutor(1) as executor:
                kernel = executor.submit(self._kernel, shape)
            self._masks[shape] = kernel.result() != 0
        if backend.is_tracing() or not backend.is_concrete(values):
            return keras.ops.convert_to_tensor(self._masks[shape])
        place = shape, str(getattr(values, "device", ""))
        if place not in self._tensors:
            self._tensors[place] = backend.lasting(self._masks[shape], values)
        return self._tensors[place]

    def check_shape(self, shape: Shape) -> None:
        """Raise `ValueError` if the axes of a kernel of `shape` are not known here."""
        axes = self.initializer.input_axes, self.initializer.output_axes
        if len(shape) > 2 and None in axes:
            raise ValueError(
                "`initializer` must have both `input_axes` and `output_axes` for a kernel of more "
                "than two dimensions. "
                f"Received: initializer={show(self.initializer)}, shape={shape}"
            )

    def _kernel(self, shape: Shape) -> Array:
        """Return the initial kernel with another scale, which every dtype holds."""
        initializer = copy.copy(self.initializer)
        initializer.stddev = 1.0
        return backend.host_view(initializer(shape, "float16"))


def kept_sparse(variable: keras.Variable) -> Sparse | None:
    """Return the `Sparse` whose zeros a weight keeps, or `None` if it keeps none."""
    if isinstance(variable.constraint, KeepSparse):
        return variable.constraint.initializer
    return None


@keras.saving.register_keras_serializable(package="initx")
class Masked(Initializer):
    """The values of an initializer for a `KeepSparse` weight: 0 at the zeros of its `Sparse`.

    Args:
        initializer: An initializer.
        zeros: A `Sparse` with an integer seed.
    """

    def __init__(self, initializer: keras.initializers.Initializer, zeros: Sparse) -> None:
        self.initializer: keras.initializers.Initializer = initializer
        self.zeros: Sparse = check_type("zeros", zeros, Sparse, "a `Sparse`")

    def check_shape(self, shape: Shape) -> None:
        adapt_initializer(self.initializer).check_shape(shape)

    def _check_dtype(self, shape: Shape, dtype: DType) -> None:
        adapt_initializer(self.initializer).check_dtype(shape, dtype)

    def compute(self, shape: Shape, dtype: DType) -> Tensor:
        values = adapt_initializer(self.initializer).values(shape, dtype)
        if isinstance(values, np.ndarray):
            values = backend.to_tensor(values)
        return KeepSparse(self.zeros)(values)
