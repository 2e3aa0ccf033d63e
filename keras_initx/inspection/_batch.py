"""Make a checked batch of the data that users pass, cut it, and turn it into arrays of floats.

`make_batch` alone decides whether `x` is a batch or inputs. For a model of one input, and data with
32 examples of 8 numbers:

    x of shape (32, 8); [x]; (x,)                         inputs
    (x, y); (x, y, sample_weight)                         a batch
    a dataset, a generator, a `PyDataset`                 its first batch
    {"input": x}                                          inputs by name
    nested lists of numbers; a `DataFrame`; a `Series`    an array
"""

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._received import show
from keras_initx._typing import Array, Tensor
from keras_initx.backends._current import backend

# What `fit` takes: an array, a list, tuple or dict of arrays, or a dataset of batches.
Data: TypeAlias = Any


class Batch(NamedTuple):
    """Inputs, targets and weights of some examples: arrays, or lists or dicts of arrays."""

    x: Any
    y: Any = None
    sample_weight: Any = None


def make_batch(model: keras.Model, x: Data, y: Data | None = None) -> Batch:
    """Make the checked batch that `x` and `y` are for `model`.

    From a dataset it takes the first batch, unpacked as by `keras.utils.unpack_x_y_sample_weight`.
    A tuple or list is inputs if it has as many arrays as `model` has inputs. It is a batch `(x, y)`
    or `(x, y, sample_weight)` if its first member has as many, or is a dict. `(x,)` is `x`.

    The number of inputs of a subclassed model is not known before it is built. Then a list is
    inputs, and so is a tuple if `y` is passed. A tuple of arrays may be either, and is refused.

    Args:
        model: A Keras model.
        x: Any `x` that `fit` takes, a batch, nested lists of numbers, or a `Batch`.
        y: Targets, or `None` if there are none or `x` has them.

    Raises:
        TypeError: If an array is not dense, or not of numbers. Strings are allowed in `x`.
        ValueError: If `x` does not fit the inputs of `model`, or `first_batch` raises it.
    """
    x, y = first_batch(x, y)
    batch = _unpack(model, x, y)
    _check_arrays(batch.x, batch.y)
    _check_inputs(model, batch)
    return batch


def first_batch(x: Data, y: Data | None = None) -> tuple[Data, Data | None]:
    """Return `x` and `y` as arrays; for a dataset, a `Batch` in place of `x`.

    A generator loses its first batch. The global random generators and the generators of a torch
    `DataLoader` do not advance. If a dataset has other random generators, these do advance.

    Raises:
        TypeError: If an array is not dense, or not of numbers. Strings are allowed in `x`.
        ValueError: If there are no examples or different numbers of them, a dataset has no batches,
            or `y` is passed in addition to a dataset.
    """
    if isinstance(x, Batch):
        return x, y
    if not _is_dataset(x):
        x = _convert_arrays("x", x)
        y = _convert_arrays("y", y)
        _check_arrays(x, y)
        return x, y
    if y is not None:
        raise ValueError(
            "`y` must be left out if `x` is a dataset, whose batches have the targets. "
            f"Received: x of type {type(x).__name__}, and y"
        )
    batch = _read_first_batch(x)
    _check_arrays(batch.x, batch.y)
    return batch, None


def _is_dataset(data: Data) -> bool:
    """Return whether `data` yields batches, such as a `tf.data.Dataset` or a generator."""
    if isinstance(data, keras.utils.PyDataset):
        return True
    # Sparse matrices, which have a shape, yield rows.
    if isinstance(data, str | Mapping | Sequence) or hasattr(data, "shape"):
        return False
    return hasattr(data, "__iter__")


def _read_first_batch(dataset: Data) -> Batch:
    """Read the first batch of `dataset`, and put back the generators that it draws from."""
    put_back_generators = backend.kept_generators()
    states = [(generator, generator.get_state()) for generator in _list_generators(dataset)]
    try:
        if not isinstance(dataset, keras.utils.PyDataset):
            batch = next(iter(dataset), None)
        elif dataset.num_batches == 0:
            batch = None
        else:
            batch = dataset[0]
    finally:
        put_back_generators()
        for generator, state in states:
            generator.set_state(state)
    received = f"Received: x of type {type(dataset).__name__}"
    if batch is None:
        raise ValueError(f"`x` must have at least one batch. {received} with none")
    # Keras' error would print them.
    if isinstance(batch, list | tuple) and len(batch) > 3:
        raise ValueError(
            "`x` must have batches `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`. "
            f"{received} with {len(batch)} members in a batch"
        )
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    x, y, sample_weight = (
        _convert_arrays("x", x),
        _convert_arrays("y", y),
        _convert_arrays("sample_weight", sample_weight),
    )
    arrays = [array for array in keras.tree.flatten((x, y)) if array is not None]
    shapes = [tuple(np.shape(array)) for array in arrays]
    if () in shapes or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            "`x` must have batches, not single examples: batch it, for example by "
            f"`dataset.batch(32)`. {received} with arrays of the shapes {shapes}"
        )
    return Batch(x, y, sample_weight)


def _list_generators(dataset: Data) -> list[Any]:
    """List the generators that a torch `DataLoader` draws from, on any backend."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(dataset, torch.utils.data.DataLoader):
        return []
    generators = [torch.default_generator]
    batch_sampler = dataset.batch_sampler
    for owner in (dataset, dataset.sampler, batch_sampler, getattr(batch_sampler, "sampler", None)):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            generators.append(generator)
    return generators


def _convert_arrays(name: str, data: Data) -> Data:
    # Lists of numbers and pandas' objects become arrays.
    return keras.tree.traverse(functools.partial(_convert_value, name), data)


def _convert_value(name: str, value: Any) -> Array | None:
    """Convert a value in the argument `name` if it has another form; `None` for an array."""
    if isinstance(value, list) and _has_values(value):
        try:
            return np.asarray(value)
        except ValueError:  # lists of different lengths, for the error of other objects
            return np.array(value, object)
    pandas = sys.modules.get("pandas")  # imported already if the data are pandas' objects
    if pandas is None:
        return None
    if isinstance(value, pandas.DataFrame):
        return _frame_to_array(name, value)
    if isinstance(value, pandas.Series):
        return column_to_array(value)[:, None]  # the same shape as in `fit`
    return None


def _frame_to_array(name: str, frame: Any) -> Array:
    columns = [column_to_array(column) for _, column in frame.items()]
    if not columns:
        return np.empty(frame.shape)
    are_numbers = [column.dtype.kind in "biuf" for column in columns]
    if not all(are_numbers) and not all(map(_has_texts, columns)):
        label = frame.columns[are_numbers.index(False)]
        raise TypeError(
            f"`{name}` must hold numbers: encode other columns, or leave them out. "
            f"Received: {name} with the column {show(label)}"
        )
    return np.stack(columns, axis=1)


def _has_values(nested: Sequence[Any]) -> bool:
    """Return whether lists in lists hold numbers or strings, and nothing else."""
    for item in nested:
        is_value = isinstance(item, int | float | str | bytes | np.generic)
        if not is_value and not (isinstance(item, list | tuple) and _has_values(item)):
            return False
    return bool(nested)


def column_to_array(column: Any) -> Array:
    """Convert a column of pandas, to floats if it has a number type of pandas."""
    array = np.asarray(column)
    if array.dtype == object and sys.modules["pandas"].api.types.is_numeric_dtype(column.dtype):
        return np.asarray(column.to_numpy("float64", na_value=np.nan))
    return array


def _unpack(model: keras.Model, x: Data, y: Data | None) -> Batch:
    """Unpack `x`, which is no dataset: a batch, or its inputs. See `make_batch`."""
    if isinstance(x, Batch):
        return x
    if not isinstance(x, list | tuple) or not x:
        return Batch(x, y)
    if isinstance(x, tuple) and len(x) == 1:
        return Batch(x[0], y)
    inputs = _count_inputs(model)
    count = len(keras.tree.flatten(x))
    if inputs is None:
        if y is not None:
            return Batch(x, y)
        is_batch = isinstance(x[0], list | tuple | dict)
        if isinstance(x, tuple) and len(x) <= 3 and not is_batch:
            raise ValueError(
                "`x` must be the inputs alone, several of them as a list. The number of inputs of "
                "this model is not known, so a tuple may also be a batch `(x, y)`. "
                f"Received: x with a tuple of {count} arrays"
            )
    elif count == inputs:
        is_batch = False
    else:
        is_batch = isinstance(x[0], dict) or len(keras.tree.flatten(x[0])) == inputs
    if not is_batch or len(x) > 3:
        return Batch(x, y)
    if y is not None:
        raise ValueError(
            "`y` must be left out if `x` is a batch `(x, y)`: `x` has more arrays than the model "
            f"has inputs. Received: x with {count} arrays for {inputs} inputs, and y"
        )
    return Batch(*x)


def _count_inputs(model: keras.Model) -> int | None:
    """Count the inputs of `model`; `None` if they are not known."""
    inputs = getattr(model, "inputs", None)
    if inputs:
        return len(inputs)
    if isinstance(model, keras.Sequential):
        return 1
    # Of a subclassed model, what it was built for. A user's own config may hold anything.
    config: Any = model.get_build_config()
    shape = config.get("input_shape") if isinstance(config, dict) else None
    if not isinstance(shape, list | tuple | dict):
        return None
    return _count_shapes(shape)


def _count_shapes(nested: Any) -> int:
    if isinstance(nested, dict):
        nested = list(nested.values())
    if not isinstance(nested, list | tuple):  # that of an optional input, which was `None`
        return 1
    if all(length is None or isinstance(length, int) for length in nested):
        return 1
    return sum(map(_count_shapes, nested))


def _check_arrays(x: Data, y: Data | None) -> None:
    """Raise an error if `x` and `y` are not matching, nonempty arrays."""
    x_counts = _count_examples("x", x)
    y_counts = [] if y is None else _count_examples("y", y)
    if not x_counts or 0 in x_counts:
        raise ValueError("`x` must have at least one example. Received: x with none")
    if len({*x_counts, *y_counts}) > 1:
        raise ValueError(
            "`x` and `y` must have the same number of examples. "
            f"Received: x with {x_counts}, y with {y_counts}"
        )


def _count_examples(name: str, arrays: Data) -> list[int]:
    """Count the examples of each array, which must be dense, of numbers, or of strings in `x`."""
    leaves = keras.tree.flatten(arrays)
    # An optional input may be `None`.
    leaves = [array for array in leaves if array is not None] or leaves
    for array in leaves:
        kind = type(array).__name__
        if not getattr(array, "shape", None) or not hasattr(array, "__array__"):
            forms = "an array, or a list or dict of arrays"
            if name == "x":
                forms = "an array, a list or dict of arrays, or a dataset of batches"
            raise TypeError(f"`{name}` must be {forms}. Received: {name} with {kind}")
        if getattr(array, "is_sparse", False):  # a tensor of torch
            raise TypeError(f"`{name}` must be dense. Received: {name} with a sparse {kind}")
        dtype = _dtype_name(array)
        # Also of arrays of different lengths, which are no batch.
        if "object" in dtype and not _has_texts(array):
            raise TypeError(
                f"`{name}` must hold numbers, or strings, in one array of one shape. "
                f"Received: {name} with {kind} of dtype {dtype}"
            )
        if name == "y" and _has_texts(array):
            raise TypeError(
                "`y` must hold numbers: encode the labels, for example by "
                "`numpy.unique(y, return_inverse=True)[1]`. Received: y with strings"
            )
        # Keras would drop the imaginary parts and the mask.
        if isinstance(array, np.ma.MaskedArray) or "complex" in dtype:
            raise TypeError(
                f"`{name}` must hold real numbers, without a mask. "
                f"Received: {name} with {kind} of dtype {dtype}"
            )
    return [array.shape[0] for array in leaves]


def _dtype_name(array: Any) -> str:
    if keras.ops.is_tensor(array):
        return str(array.dtype)
    return str(np.asarray(array).dtype)  # those of other libraries have names of their own


def _has_texts(array: Any) -> bool:
    if keras.ops.is_tensor(array):
        return "string" in str(array.dtype)
    array = np.asarray(array)
    if array.dtype == object:
        return all(isinstance(value, str | bytes) for value in array.flat)
    return array.dtype.kind in "SUT"


def _check_inputs(model: keras.Model, batch: Batch) -> None:
    """Raise an error if `batch` does not fit the inputs of `model`, if these are known.

    Without this check, Keras' error may print all of `x`.
    """
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return
    leaves = keras.tree.flatten(batch.x)
    if isinstance(batch.x, dict):
        required = _read_named_inputs(model)
        missing = [name for name in required if name not in batch.x]
        if missing:
            raise ValueError(
                f"`x` must have the keys {list(required)}, the inputs of the model. "
                f"Received: x without {missing}"
            )
        # Others are not used.
        leaves = keras.tree.flatten([batch.x[name] for name in required])
        inputs = keras.tree.flatten(list(required.values()))
    if len(leaves) != len(inputs):
        raise ValueError(
            f"`x` must have {len(inputs)} arrays, as many as the model has inputs, or be a batch "
            f"`(x, y)`. Received: x with {len(leaves)} arrays"
        )
    for tensor, array in zip(inputs, leaves, strict=True):
        if array is None:  # an optional input
            continue
        required_shape = tuple(tensor.shape)
        shape = tuple(array.shape)
        if _fits(shape, required_shape):
            if _has_texts(array) and tensor.dtype != "string":
                raise TypeError(
                    "`x` must hold numbers, as the model's inputs. Received: x with strings"
                )
            continue
        name = f"input {tensor.name!r}" if len(inputs) > 1 else "inputs"
        message = f"`x` must have the shape {required_shape}, as the model's {name}"
        if len(inputs) == 1 and _has_shape(batch.y, required_shape):
            message += ". `y` has this shape: pass `x` before `y`"
        elif _fits((1, *shape), required_shape):
            message += ". Pass one example as `x[None]`, examples as `dataset.batch(32)`"
        raise ValueError(f"{message}. Received: x of shape {shape}")


def _read_named_inputs(model: keras.Model) -> dict[str, Any]:
    # By the keys of a dict that it takes.
    named = getattr(model, "input", None)
    if isinstance(named, dict):
        return named
    return {tensor.name: tensor for tensor in model.inputs}


def _has_shape(array: Any, required: tuple[int | None, ...]) -> bool:
    return hasattr(array, "shape") and _fits(tuple(array.shape), required)


def _fits(shape: tuple[int, ...], required: tuple[int | None, ...]) -> bool:
    """Return whether Keras takes an array of this shape as inputs of the `required` shape."""
    # Keras adds or drops an axis of length 1.
    if len(shape) == len(required) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    elif len(shape) == len(required) - 1 and required[-1] == 1:
        shape = (*shape, 1)
    if len(shape) != len(required):
        return False
    lengths = zip(shape[1:], required[1:], strict=True)
    return all(length in (None, actual) for actual, length in lengths)


def check_finite(x: Data) -> None:
    """Raise `ValueError` if a number in `x`, which is arrays, is NaN or infinite."""
    for tensor in list_tensors(first_examples(x, None)):
        if "float" in keras.backend.standardize_dtype(tensor.dtype):
            values = to_array(tensor)
            count = values.size - np.isfinite(values).sum()
            if count:
                raise ValueError(
                    "`x` must be finite: replace NaN and infinities, for example by "
                    "`numpy.nan_to_num(x)`, or leave them out. Received: the inputs are not "
                    f"finite, {count} of {values.size} values"
                )


def first_examples(arrays: Data, count: int | None) -> Data:
    """Return the first `count` examples, or all, of an array or of each array in a list or dict.

    They have the form in which `fit` passes them.
    """

    def first(array: Tensor | None) -> Tensor | None:
        if array is None:  # an optional input
            return None
        if not keras.ops.is_tensor(array):
            array = np.asarray(array)
        array = array[:count]
        try:
            is_float = keras.backend.is_float_dtype(array.dtype)
        except ValueError:  # of strings, of which only TensorFlow has tensors
            if keras.backend.backend() == "tensorflow":
                return keras.ops.convert_to_tensor(array)
            return array
        dtype = keras.config.floatx() if is_float else None
        return keras.ops.convert_to_tensor(array, dtype)

    return keras.tree.map_structure(first, arrays)


def list_tensors(nested: Any) -> list[Tensor]:
    """Return the concrete tensors in `nested`, without NumPy scalars.

    NumPy scalars cannot be tracked because they do not support weak references.
    """
    tensors = []
    for leaf in keras.tree.flatten(nested):
        if isinstance(leaf, np.generic) or not keras.ops.is_tensor(leaf):
            continue
        if backend.is_concrete(leaf):
            tensors.append(leaf)
    return tensors


def first_float(nested: Any, *, or_kind: str | None = None) -> Tensor | None:
    """Return the first tensor of `nested` if it is concrete and floating-point, otherwise `None`.

    Its dtype may also contain `or_kind`, such as `"int"`.
    """
    first: Any = next(iter(keras.tree.flatten(nested)), None)
    if not keras.ops.is_tensor(first) or not backend.is_concrete(first):
        return None
    dtype = keras.backend.standardize_dtype(first.dtype)
    if "float" in dtype:
        return first
    if or_kind is not None and or_kind in dtype:
        return first
    return None


def to_array(tensor: Tensor | keras.Variable) -> Array:
    """Return a copy of the values of `tensor` as floats of at least 32 bits."""
    return to_floats(backend.host_view(tensor), copy=True)


def to_floats(values: Array, *, copy: bool = False) -> Array:
    """Return `values` as floats of at least 32 bits."""
    # NumPy does not treat bfloat16 as a float.
    is_wide = values.dtype.kind == "f" and values.dtype.itemsize >= 4
    dtype = values.dtype if is_wide else np.dtype("float32")
    return values.astype(dtype, copy=copy)
