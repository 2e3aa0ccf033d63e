"""Base classes of all initializers: ids, shape and dtype, seed, config, repr and equality."""

import copy
import dataclasses
import difflib
import functools
import inspect
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeGuard, TypeVar

import keras
import numpy as np

from keras_initx._checks import check_dtype, check_seed, check_shape, summarize_names
from keras_initx._initializer_names import similar_class_names
from keras_initx._keras import (
    forget_unmade_variables,
    give_seed,
    layer_using,
    name_initializer,
    read_given_seed,
)
from keras_initx._received import show
from keras_initx._suggestions import did_you_mean
from keras_initx._typing import Array, DType, KerasInitializer, Seed, Shape, ShapeLike, Tensor
from keras_initx.backends._current import backend
from keras_initx.initializers._laws import FixedLaw, IndependentLaw, Law
from keras_initx.initializers._seeds import initializers_within
from keras_initx.initializers._sharding import computation_of
from keras_initx.sampling._conversion import MOST
from keras_initx.sampling._namespace import HOST, Namespace, choose_namespace
from keras_initx.sampling._stream import Stream, computing_dtype

if TYPE_CHECKING:
    from keras_initx.report._table import Table

Class = TypeVar("Class", bound=type)


@dataclasses.dataclass(frozen=True)
class CatalogEntry:
    """The catalog entry of an initializer.

    Attributes:
        ids: Its string ids, e.g. `"initx.sparse"`. Any after the first are aliases.
        cls: The class.
        formula: A short formula for the values, in terms of the constructor's arguments.
        use: When to use it.
    """

    ids: tuple[str, ...]
    cls: "type[Initializer]"
    formula: str
    use: str


class Catalog(Mapping[str, CatalogEntry]):
    """The catalog entries by their ids, shown as a table in a notebook.

    The keys are the first id of each entry. You can also look up an entry by an alias.
    """

    def __init__(self, entries: Iterable[CatalogEntry]) -> None:
        self._entries = {entry.ids[0]: entry for entry in entries}
        self._by_alias: dict[str, CatalogEntry] = {}
        for entry in self._entries.values():
            self._by_alias |= dict.fromkeys(entry.ids, entry)

    def __getitem__(self, name: str) -> CatalogEntry:
        if name not in self._by_alias:
            meant = similar_class_names(str(name))
            similar = [repr(id) for id, entry in self.items() if entry.cls.__name__ in meant]
            raise KeyError(f"no initializer has the id {name!r}{did_you_mean(similar)}")
        return self._by_alias[name]

    def __repr__(self) -> str:
        return f"<Catalog of {len(self)} initializers: {summarize_names(list(self))}>"

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def table(self, quote: str = "") -> "Table":
        """Return the table, with `quote` around code."""
        from keras_initx.report._table import Table

        rows = []
        for entry in self.values():
            ids = ", ".join(f"{quote}{name}{quote}" for name in entry.ids)
            rows.append((ids, f"{quote}{entry.cls.__name__}{quote}", entry.formula, entry.use))
        return Table(("id", "class", "values", "when to use it"), tuple(rows), are_text=(True,) * 4)

    def _repr_html_(self) -> str:
        return self.table().as_html()


_ENTRIES: list[CatalogEntry] = []


def catalog() -> Catalog:
    """Return the catalog entries of all initializers, sorted by id.

    The tables in the documentation and of `python -m keras_initx list` are generated from it.

    Returns:
        A mapping from ids to a `CatalogEntry` for each class. Notebooks show it as a table.

    Example:
        >>> catalog()["initx.orthogonal"].cls.__name__
        'Orthogonal'
        >>> all(name.startswith("initx.") for name in catalog())
        True
    """
    return Catalog(sorted(_ENTRIES, key=lambda entry: entry.ids))


def register(*names: str, formula: str, use: str) -> Callable[[Class], Class]:
    """Register a class with Keras and in the catalog.

    Keras then finds it as `initx>ClassName`, `initx.<name>` and `initx.ClassName`.

    Args:
        *names: The names; those after the first are aliases.
        formula: See `CatalogEntry`.
        use: See `CatalogEntry`.
    """

    def decorator(cls: Class) -> Class:
        ids = tuple(f"initx.{name}" for name in names)
        _ENTRIES.append(CatalogEntry(ids, cls, formula, use))
        if constructor_parameters(cls):
            _suggest_arguments(cls)
        keras.saving.register_keras_serializable(package="initx")(cls)
        custom_objects = keras.saving.get_custom_objects()
        for string_id in (*ids, f"initx.{cls.__name__}"):
            custom_objects[string_id] = cls
            name_initializer(string_id, cls)
        name_initializer(f"initx>{cls.__name__}", cls)
        return cls

    return decorator


def _suggest_arguments(cls: Any) -> None:
    """Make the constructor of a class suggest arguments that are similar to an unknown one."""
    construct = cls.__init__

    @functools.wraps(construct)
    def construct_checked(self: Any, *arguments: Any, **named: Any) -> None:
        known = constructor_parameters(cls)
        for name in named:
            if name not in known:
                similar = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                raise TypeError(
                    f"{cls.__name__}() got an unexpected keyword argument {name!r}"
                    f"{did_you_mean(map(repr, similar))}"
                )
        construct(self, *arguments, **named)

    cls.__init__ = construct_checked


class Initializer(KerasInitializer):
    """Draws the values of a weight: the base class of all initializers.

    Derive from it, or from `RandomInitializer`, to write an initializer of your own. Your class
    stores the arguments of its constructor as attributes of the same names, exactly as given, and
    implements `fill`, or `law` if it is a `RandomInitializer`. Config, repr, equality and
    serialization follow from these.
    """

    @backend.untransformed
    def __call__(self, shape: ShapeLike, dtype: DType | None = None, layout: Any = None) -> Tensor:
        """Return a tensor of initial values.

        Args:
            shape: Shape of the tensor.
            dtype: Floating-point dtype of the tensor, `keras.config.floatx()` by default. Values
                are computed in float32, or in float64 if you pass it, and cast last. JAX supports
                float64 only with its option `jax_enable_x64`; without it, float64 means float32.
            layout: How JAX distributes the tensor over devices: a `keras.distribution.TensorLayout`
                or a sharding of JAX. Keras passes the layout of a variable.

        Returns:
            A tensor of the current backend.

        Raises:
            TypeError: If `shape` is not a sequence of integers.
            ValueError: If `shape` or `dtype` is invalid for this initializer, or if a value may be
                too large for `dtype`.
        """
        try:
            shape = check_shape(shape)
            dtype = backend.available_dtype(check_dtype(dtype))
            self.check_shape(shape)
            self._check_dtype(shape, dtype)
            if layout is None:
                return self._on_device(shape, dtype)
            return backend.distributed(computation_of(self, shape, dtype), shape, layout)
        except BaseException:
            forget_unmade_variables()
            raise

    # The steps of a call, in this order.

    def check_shape(self, shape: Shape) -> None:
        """Raise `ValueError` if this initializer cannot fill `shape`."""

    def _check_dtype(self, shape: Shape, dtype: DType) -> None:
        """Raise `ValueError` if values of `shape` could be infinite in `dtype`."""
        check_largest(self, self.largest(shape), dtype)

    def largest(self, shape: Shape) -> float:
        """Return a size that no value exceeds.

        It is 0 if every dtype can hold the values, or if the values are not known.
        """
        return 0.0

    def _on_device(self, shape: Shape, dtype: DType) -> Tensor:
        """Return the values in `dtype`, as a tensor on the current device."""
        if backend.is_abstract():
            return keras.ops.empty(shape, dtype)
        # A number that is rounded to zero is no error, whatever NumPy has been told.
        with np.errstate(under="ignore"):
            values = self.compute(shape, dtype)
            if isinstance(values, np.ndarray):
                values = values.astype(dtype, copy=False)
        if isinstance(values, np.ndarray):
            return backend.to_tensor(np.asarray(values, order="C"))
        return backend.contiguous(keras.ops.cast(values, dtype))

    def compute(self, shape: Shape, dtype: DType) -> Tensor:
        """Return the values before they move to a device, in `dtype` or in the computing dtype.

        They are an array on the host, and a tensor on a device.
        """
        return self.fill(self._namespace(shape), shape, computing_dtype(dtype))

    def _compute_at(self, shape: Shape, dtype: DType, places: Array) -> Array | None:
        """Return the values at some places, or `None` if all values can only be made together.

        Args:
            shape: The shape of all values.
            dtype: Their dtype.
            places: Vector of indices, counted in row-major order.
        """
        return None

    def _namespace(self, shape: Shape) -> Namespace:
        """Return the namespace in which to compute values of `shape`."""
        states = []
        for part in initializers_within(self):
            seed = getattr(part, "seed", None)
            if isinstance(seed, keras.random.SeedGenerator):
                states.append(seed.state.value)
        return choose_namespace(self._work(shape), states)

    def _work(self, shape: Shape) -> int:
        """Return how many draws take the host as long as the values of `shape`."""
        return math.prod(shape)

    def fill(self, xp: Namespace, shape: Shape, dtype: DType) -> Tensor:
        """Return values of `shape` and `dtype` in the namespace `xp`.

        On the host they are a new array that is writable.
        """
        raise NotImplementedError

    def is_exact(self) -> bool:
        """Return whether all processors make the same bits.

        This does not hold for matrix products, because processors add the terms in different
        orders.
        """
        return True

    def law(self, shape: Shape) -> Law | None:
        """Return the distribution of the values of `shape`, or `None` if it is not known.

        Args:
            shape: A shape that the initializer fills.
        """
        return None

    def expected_std(self, shape: Shape) -> float | None:
        """Return the standard deviation that values of `shape` should have.

        It is `None` if it is unknown.

        Args:
            shape: A shape that the initializer fills.
        """
        law = self.law(shape)
        if law is None:
            return None
        return law.std

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as a JSON-serializable dict."""
        return dict(_plain(self._arguments(), keras.saving.serialize_keras_object))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the initializer that has this config.

        Args:
            config: The dict that `get_config` returned. Converted arrays become arrays again.
        """
        arguments = {name: _with_arrays(value) for name, value in config.items()}
        return cls(**arguments)

    def _arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments as they were given."""
        return {name: getattr(self, name) for name in constructor_parameters(type(self))}

    def __repr__(self) -> str:
        parameters = constructor_parameters(type(self))
        listed = []
        for name, value in self._arguments().items():
            if not are_equal(value, parameters[name].default):
                listed.append(f"{name}={_plain(value, _readable)!r}")
        return f"{type(self).__name__}({', '.join(listed)})"

    def __eq__(self, other: object) -> bool:
        """Compare by class and arguments: equal initializers give the same values.

        Drawn seeds are compared too.
        """
        if type(other) is not type(self):
            return NotImplemented
        return are_equal(vars(self), vars(other))

    def __hash__(self) -> int:
        return hash((type(self), getattr(self, "seed", None)))


def rank_error(initializer: Initializer, required: str, shape: Shape) -> ValueError:
    """Return the error about a shape with too few or too many dimensions.

    Args:
        initializer: The initializer that got this shape.
        required: The requirement on the shape, in words.
        shape: The shape.
    """
    received = f"Received: shape={shape}"
    layer = layer_using(initializer)
    if layer is not None:
        received += f", layer={layer.name!r}"
    name = type(initializer).__name__
    if len(shape) == 1:
        required += f"; `{name}` is for a kernel, and a bias has one dimension: pass 'zeros' there"
    return ValueError(f"`shape` must have {required}. {received}")


def check_largest(
    initializer: keras.initializers.Initializer, largest: float, dtype: DType
) -> None:
    """Raise `ValueError` if values of this size could be infinite in `dtype`."""
    if largest > MOST[dtype]:
        raise ValueError(
            f"`dtype` must be able to hold the values of {initializer!r}, which may be as large as "
            f"{largest:.3g}. Received: dtype={show(dtype)}"
        )


def keeps_call(initializer: Any) -> TypeGuard[Initializer]:
    """Return whether this is an initializer whose class does not override `__call__`."""
    return (
        isinstance(initializer, Initializer) and type(initializer).__call__ is Initializer.__call__
    )


_PARAMETERS: dict[type, Mapping[str, inspect.Parameter]] = {}


def constructor_parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    """Return the named parameters of the constructor of `cls` (cached).

    They include the parameters that it passes on as `**kwargs`.
    """
    if cls not in _PARAMETERS:
        _PARAMETERS[cls] = _parameters_of_constructors(cls)
    return _PARAMETERS[cls]


def _parameters_of_constructors(cls: type) -> Mapping[str, inspect.Parameter]:
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        passes_on = False
        _, *parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                passes_on = True
            else:
                found.setdefault(parameter.name, parameter)
        if not passes_on:
            break
    return found


def are_equal(first: Any, second: Any) -> bool:
    """Return whether two arguments, or containers of arguments, are equal, arrays bit for bit."""
    return bool(_plain(first, _comparable) == _plain(second, _comparable))


def _plain(value: Any, nested: Callable[[Any], Any]) -> Any:
    """Return `value` as JSON would return it: NumPy scalars as Python scalars, tuples as lists.

    Args:
        value: A constructor argument, or a container of arguments.
        nested: Function applied to the objects inside: initializers, seed generators and arrays.
    """
    if isinstance(value, dict):
        return {name: _plain(item, nested) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, nested) for item in value]
    if isinstance(value, keras.initializers.Initializer | keras.random.SeedGenerator):
        return nested(value)
    if is_array(value):
        return nested(value)
    if isinstance(value, np.floating):
        return float(value)  # of a `longdouble`, `item` would return itself
    if isinstance(value, np.generic | np.ndarray):
        return value.item()
    return value


def is_array(value: Any) -> bool:
    """Return whether `value` is a tensor, or an array with axes.

    Like Keras, this takes an array without axes as a number.
    """
    if keras.ops.is_tensor(value):
        return True
    return isinstance(value, np.ndarray) and value.ndim > 0


def _with_arrays(value: Any) -> Any:
    """Return a part of a config, with the arrays and tensors that Keras had converted."""
    if isinstance(value, list):
        return [_with_arrays(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") in ("__numpy__", "__tensor__"):
        return keras.saving.deserialize_keras_object(value)
    if "class_name" in value:  # the config of another object, which that object reads
        return value
    return {name: _with_arrays(item) for name, item in value.items()}


def _readable(value: Any) -> Any:
    # The repr of other objects is not a constructor call.
    if isinstance(value, Initializer) or is_array(value):
        return value
    return keras.saving.serialize_keras_object(value)


def _comparable(value: Any) -> Any:
    if is_array(value):
        array = backend.host_view(value)
        return array.dtype, array.shape, array.tobytes()
    # Keras' own initializers are equal only to themselves. An unseeded one keeps the seed that it
    # drew here.
    if isinstance(value, Initializer | keras.random.SeedGenerator):
        return value
    return keras.saving.serialize_keras_object(value), getattr(value, "seed", None)


class ConstantInitializer(Initializer):
    """Base class of deterministic initializers."""

    def law(self, shape: Shape) -> Law | None:
        return FixedLaw(lambda: self.fill(HOST, shape, "float32"))


class RandomInitializer(Initializer):
    """Base class of initializers that draw random numbers.

    Your subclass implements `law`, the distribution of its values. If they are not independent
    draws from one distribution, it implements `draw` too.

    Args:
        seed: `None`, an integer in `[0, 2**32)` or a `keras.random.SeedGenerator`. With `None`, a
            seed is drawn once, here, from Python's `random`, so that `keras.utils.set_random_seed`
            controls it. An initializer with an integer or `None` returns the same values each time
            it is called with the same shape; with a generator, each call advances the generator and
            returns new values.
    """

    seed: int | keras.random.SeedGenerator

    def __init__(self, *, seed: Seed = None) -> None:
        give_seed(self, check_seed(seed))
        if seed is None:
            self.seed = random.getrandbits(32)

    def for_weight(self, seed: Any, groups: tuple[int, int] | None = None) -> Self:
        """Return a copy for one weight, with settings that the constructor may not take.

        Args:
            seed: An integer, also one in a trace.
            groups: The groups of the inputs and of the units of a kernel, for initializers that
                scale by its fans. By default the copy has the same groups.
        """
        result = copy.copy(self)
        give_seed(result, seed)
        return result

    def compute(self, shape: Shape, dtype: DType) -> Tensor:
        stream = Stream(self._key(), dtype, self._namespace(shape))
        return self.draw(stream, shape, computing_dtype(dtype))

    def _compute_at(self, shape: Shape, dtype: DType, places: Array) -> Array | None:
        methods = type(self).compute, type(self).draw
        draws_by_law = methods == (RandomInitializer.compute, RandomInitializer.draw)
        if not draws_by_law or not isinstance(self.seed, int):
            return None
        stream = Stream(self._key(), dtype, HOST, places)
        drawn: Array = self.draw(stream, shape, computing_dtype(dtype))
        return drawn.astype(dtype, copy=False)

    def largest(self, shape: Shape) -> float:
        law = self.law(shape)
        return 0.0 if law is None else law.reach

    def draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        """Return values of `shape` drawn from `stream`, in its namespace.

        They are in `dtype` or in the stream's dtype.
        """
        law = self.law(shape)
        if not isinstance(law, IndependentLaw):
            raise NotImplementedError
        return law.draw(stream, shape, dtype)

    def _key(self) -> tuple[Tensor, Tensor]:
        """Return the two words of the stream's key: the seed and, for a generator, its counter."""
        if not isinstance(self.seed, keras.random.SeedGenerator):  # a number, or one in a trace
            return self.seed, 0
        words = backend.next_seed(self.seed)
        if backend.is_tracing() or not backend.is_concrete(words):
            return words[0], words[1]
        first, second = keras.ops.convert_to_numpy(words)
        return int(first) & 0xFFFFFFFF, int(second) & 0xFFFFFFFF

    def _arguments(self) -> dict[str, Any]:
        arguments = super()._arguments()
        # The constructor of a subclass may take no seed.
        if "seed" in arguments:
            arguments["seed"] = read_given_seed(self)
        return arguments
