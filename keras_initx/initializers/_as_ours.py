"""Any initializer in the form of this package: the facts about its values, and how to make them."""

import difflib
import functools
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_initx._checks import DTYPES, is_real, to_float
from keras_initx._initializer_names import similar_class_names
from keras_initx._received import show
from keras_initx._suggestions import did_you_mean
from keras_initx._typing import Array, DType, InitializerLike, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.initializers._initializer import (
    Initializer,
    catalog,
    constructor_parameters,
    is_array,
    keeps_call,
)
from keras_initx.initializers._laws import FixedLaw, Law
from keras_initx.initializers._seeds import resolve_initializer
from keras_initx.sampling._conversion import truncated_quantiles
from keras_initx.sampling._namespace import choose_namespace

# Ids of Keras that have no namesake here.
_OF_KERAS = ("constant", "identity", "ones", "zeros")


def check_initializer(name: str, value: InitializerLike) -> keras.initializers.Initializer:
    """Return the initializer given as an object, a class, a string id or a config."""
    if isinstance(value, type) and issubclass(value, keras.initializers.Initializer):
        value = value()  # as Keras does it in a layer
    required = (
        f"`{name}` must be an initializer, its string id or its config. "
        f"Received: {name}={show(value)}"
    )
    if not isinstance(value, str | dict | keras.initializers.Initializer):
        raise TypeError(f"{required}{_suggest_object(value)}")
    if isinstance(value, str):
        required += did_you_mean(map(repr, similar_ids(value)))
    try:
        initializer = resolve_initializer(value)
    except (TypeError, ValueError) as error:
        raise ValueError(required) from error
    if not isinstance(initializer, keras.initializers.Initializer):
        raise ValueError(required)
    return initializer


def _suggest_object(value: Any) -> str:
    """Return the end of a message about a value that is no initializer: how to make one of it."""
    if is_real(value):
        return f"; for this value pass `keras.initializers.Constant({value})`"
    if is_array(value):
        return "; for these values pass `keras.initializers.Constant(array)`"
    if callable(value):
        return (
            "; for a function of shape and dtype, derive a class from "
            "`keras.initializers.Initializer` that calls it in `__call__`"
        )
    return ""


def similar_ids(name: str) -> list[str]:
    """Return the ids that `name` may mean, here or in Keras."""
    ids = {entry.cls.__name__: entry.ids[0] for entry in catalog().values()}
    like = [ids[name] for name in similar_class_names(name)]
    like += difflib.get_close_matches(name.lower(), _OF_KERAS, cutoff=0.8)
    return [one for one in like if one != name]


def list_meant_ids(text: str) -> list[str]:
    """Return the ids of initializers that a text may mean: the text itself, or similar ids."""
    try:
        if callable(resolve_initializer(text)):
            return [text]
    except (TypeError, ValueError):  # its class may need arguments
        pass
    return similar_ids(text)


class Adapted:
    """An initializer, or a function that Keras takes as one, without any known fact.

    Attributes:
        initializer: The initializer.
        counterpart: The class of this package that has its distribution, if it is one of Keras.
    """

    counterpart: type[Initializer] | None = None

    def __init__(self, initializer: Any) -> None:
        self.initializer: Any = initializer

    def arguments(self) -> dict[str, Any] | None:
        """Return its arguments, or `None` if not all of them are known.

        The arguments of Keras' initializers are the arguments of their `counterpart`.
        """
        config = dict(self.initializer.get_config())
        return None if self._lacking(config) else config

    def lacking(self) -> list[str]:
        """Return the names of the arguments that its config lacks."""
        return self._lacking(self.initializer.get_config())

    def _lacking(self, config: Mapping[str, Any]) -> list[str]:
        return [
            name for name in constructor_parameters(type(self.initializer)) if name not in config
        ]

    def check_shape(self, shape: Shape) -> None:
        """Raise `ValueError`, before anything is drawn, if it cannot fill `shape`."""

    def check_dtype(self, shape: Shape, dtype: DType) -> None:
        """Raise `ValueError`, before anything is drawn, if values would be infinite in `dtype`."""

    def check_numbers(self) -> None:
        """Raise `ValueError` if one of its arguments is a number that is not finite.

        Initializers of this package check this themselves. A constant may be NaN by intention.
        """

    def largest(self, shape: Shape) -> float:
        """Return a size that no value exceeds, or 0, see `Initializer`."""
        return 0.0

    def law(self, shape: Shape) -> Law | None:
        """Return the known facts about its values, or `None`."""
        return None

    def values(self, shape: Shape, dtype: DType) -> Tensor:
        """Return its values: a new array on the host, or a tensor on a device.

        Raises:
            ValueError: If they are complex or masked.
        """
        values = self.initializer(shape, dtype=dtype)
        if isinstance(values, np.ma.MaskedArray) or "complex" in str(getattr(values, "dtype", "")):
            # A cast would drop the mask or the imaginary parts.
            raise ValueError(
                "An initializer inside another must return real numbers without a mask. "
                f"Received: {show(self.initializer)}, "
                f"which returns {type(values).__name__} of dtype "
                f"{values.dtype}"
            )
        tensors = [values] if keras.ops.is_tensor(values) else []
        return choose_namespace(math.prod(shape), tensors).adopt(values)

    def values_at(self, shape: Shape, dtype: DType, places: Array) -> Array | None:
        """Return some of its values, or `None` if it can only make all values together.

        Args:
            shape: The shape of all values.
            dtype: Their dtype.
            places: Vector of the indices of the values to make, counted in row-major order.

        Raises:
            ValueError: If the initializer cannot fill the shape.
        """
        self.check_shape(shape)
        dtype = backend.available_dtype(dtype)  # as in a call
        self.check_dtype(shape, dtype)
        return self._values_at(shape, dtype, places)

    def _values_at(self, shape: Shape, dtype: DType, places: Array) -> Array | None:
        return None


class _OfThisPackage(Adapted):
    """An initializer of this package, or a user's whose class derives from one of this package."""

    initializer: Initializer

    def arguments(self) -> dict[str, Any]:
        # Not the config: a nested initializer of a user may lack one, or not be registered.
        return self.initializer._arguments()

    def check_shape(self, shape: Shape) -> None:
        self.initializer.check_shape(shape)

    def check_dtype(self, shape: Shape, dtype: DType) -> None:
        if dtype in DTYPES:
            self.initializer._check_dtype(shape, dtype)

    def largest(self, shape: Shape) -> float:
        return self.initializer.largest(shape)

    def law(self, shape: Shape) -> Law | None:
        if not _draws_by_its_law(type(self.initializer)):
            return None
        return self.initializer.law(shape)

    def values(self, shape: Shape, dtype: DType) -> Tensor:
        if not keeps_call(self.initializer):
            return super().values(shape, dtype)
        # Not through `__call__`, which would move the values to the device and back.
        return self.initializer.compute(shape, dtype)

    def _values_at(self, shape: Shape, dtype: DType, places: Array) -> Array | None:
        if not keeps_call(self.initializer):
            return None
        with np.errstate(under="ignore"):  # as where all are made
            return self.initializer._compute_at(shape, dtype, places)


def _draws_by_its_law(own: type[Initializer]) -> bool:
    """Return whether the class that states the law also draws, and no subclass overrides it."""
    for cls in own.__mro__:
        if "law" in vars(cls):
            return True
        if vars(cls).keys() & {"__call__", "draw", "_draw_matrix"}:
            return False
    return True


class _RandomOfKeras(Adapted):
    """One of Keras' random initializers, which has a counterpart in this package."""

    def __init__(self, initializer: Any) -> None:
        super().__init__(initializer)
        self.counterpart = _namesakes()[type(initializer)]

    def arguments(self) -> dict[str, Any] | None:
        arguments = super().arguments()
        if arguments is not None and type(self.initializer) is keras.initializers.TruncatedNormal:
            # Keras takes the value before truncation.
            arguments["stddev"] *= truncated_quantiles(-2.0, 2.0).stddev
        return arguments

    def check_numbers(self) -> None:
        config = self.initializer.get_config()
        for name, parameter in constructor_parameters(type(self.initializer)).items():
            value = config.get(name, parameter.default)
            # Some backends of Keras take arrays too.
            if isinstance(parameter.default, float) and not is_array(value):
                is_finite = is_real(value) and math.isfinite(to_float(value))
                if not is_finite:
                    raise ValueError(
                        f"`{name}` must be a finite number. Received: {name}={show(value)}"
                    )

    def largest(self, shape: Shape) -> float:
        ours = self._ours()
        return 0.0 if ours is None else ours.largest(shape)

    def law(self, shape: Shape) -> Law | None:
        ours = self._ours()
        return None if ours is None else ours.law(shape)

    def _ours(self) -> Initializer | None:
        """Return an initializer of this package with the same distribution, or `None`."""
        arguments = self.arguments()
        if arguments is None or self.counterpart is None:
            return None
        if "seed" in arguments:
            arguments["seed"] = 0  # not a copy of a generator, nor one that is drawn
        try:
            return self.counterpart.from_config(arguments)
        except (TypeError, ValueError):  # such as a standard deviation of 0
            return None


@functools.cache
def _namesakes() -> dict[type, type[Initializer]]:
    """Return the class in this package for each class of Keras that has one with the same name."""
    found = {}
    for entry in catalog().values():
        namesake = getattr(keras.initializers, entry.cls.__name__, None)
        if namesake is not None:
            found[namesake] = entry.cls
    return found


class _FixedOfKeras(Adapted):
    """Zeros or ones of Keras, whose values are known."""

    def law(self, shape: Shape) -> Law:
        return FixedLaw(lambda: backend.host_view(self.initializer(shape)))

    def _values_at(self, shape: Shape, dtype: DType, places: Array) -> Array | None:
        # A subclass of a user may give more than one number.
        if type(self.initializer) in (keras.initializers.Zeros, keras.initializers.Ones):
            return self._one_number(dtype, places)
        return None

    def _one_number(self, dtype: DType, places: Array) -> Array:
        return np.array(backend.host_view(self.initializer((places.size,), dtype=dtype)))


class _Identity(_FixedOfKeras):
    """The identity of Keras."""

    def arguments(self) -> dict[str, Any] | None:
        if type(self.initializer) is keras.initializers.Identity:
            return {"gain": self.initializer.gain}  # which Keras leaves out of its config
        return super().arguments()

    def check_shape(self, shape: Shape) -> None:
        if len(shape) != 2:
            raise ValueError(f"`shape` must have 2 dimensions. Received: shape={shape}")


class _Constant(_FixedOfKeras):
    """A constant of Keras: a number or an array."""

    def check_shape(self, shape: Shape) -> None:
        given = np.shape(self.initializer.value)
        try:
            is_filled = np.broadcast_shapes(given, shape) == shape
        except ValueError:
            is_filled = False
        if not is_filled:
            raise ValueError(
                f"`shape` must be a shape to which the constant of shape {given} can be broadcast. "
                f"Received: shape={shape}"
            )

    def largest(self, shape: Shape) -> float:
        values = np.abs(backend.host_view(self.initializer.value))
        return float(np.max(values, initial=0, where=np.isfinite(values)))

    def _values_at(self, shape: Shape, dtype: DType, places: Array) -> Array | None:
        is_own = type(self.initializer) is keras.initializers.Constant
        if is_own and np.ndim(self.initializer.value) == 0:
            return self._one_number(dtype, places)
        return None


def adapt_initializer(initializer: Any) -> Adapted:
    """Return an initializer with the facts that this package knows about it."""
    known = keras.initializers
    if isinstance(initializer, Initializer):
        return _OfThisPackage(initializer)
    if isinstance(initializer, known.Constant):
        return _Constant(initializer)
    if isinstance(initializer, known.Identity):
        return _Identity(initializer)
    if isinstance(initializer, known.Ones | known.Zeros):
        return _FixedOfKeras(initializer)
    if type(initializer) in _namesakes():
        return _RandomOfKeras(initializer)
    return Adapted(initializer)
