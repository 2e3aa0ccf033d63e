"""The weights of a model, with paths that do not depend on other objects in the process."""

import contextlib
import difflib
import functools
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._checks import DTYPES, check_root, check_type
from keras_initx._seeds import derived_seed
from keras_initx._typing import DType, Shape, Tensor
from keras_initx.backends import Draw, backend
from keras_initx.diagnostics._layers import automatic_name, own_weights, parts_of
from keras_initx.diagnostics._weights import is_kernel, kernel_axes, kernel_groups
from keras_initx.initializers._scale import fans

__all__ = ["ModelWeight", "seeds", "weights_digest"]


@dataclass(frozen=True, eq=False)
class ModelWeight:
    """A weight of a model.

    Attributes:
        path: The names of the layers around it and its own name, joined by `/`, without the name of
            the model. Automatic names are renumbered within each layer or model: `dense`,
            `dense_1`.
        variable: The variable of Keras.
        layers: The layers around it, from the model to the layer that holds it.
        layer_paths: The paths of these layers. The path of the model is empty.
    """

    path: str
    variable: keras.Variable
    layers: tuple[keras.Layer, ...]
    layer_paths: tuple[str, ...]

    @property
    def layer(self) -> keras.Layer:
        """The layer that holds it."""
        return self.layers[-1]

    @property
    def name(self) -> str:
        """Its name in the layer, e.g. `"kernel"`."""
        return str(self.variable.name)

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return tuple(self.variable.shape)

    @property
    def dtype(self) -> DType:
        """The name of its dtype."""
        return str(keras.backend.standardize_dtype(self.variable.dtype))

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def axes(self) -> tuple[Shape, Shape] | None:
        """The input and output axes if this is a kernel, otherwise `None`."""
        return kernel_axes(self.layer, self.variable) if is_kernel(self.variable) else None

    @property
    def groups(self) -> tuple[int, int]:
        """The groups of the inputs and of the units of a kernel: each input is connected to the units of its group."""
        return kernel_groups(self.layer, self.variable) if self.axes else (1, 1)

    @property
    def fans(self) -> tuple[int, int] | None:
        """Fan-in and fan-out if this is a kernel, otherwise `None`."""
        return fans(self.shape, *self.axes, self.groups) if self.axes else None


def check_model(name: str, model: Any) -> keras.Model:
    """Return `model`, which must be a Keras model with weights."""
    check_type(name, model, keras.Model, "a Keras model")
    # Keras builds a `Sequential` up to a layer whose shapes it cannot infer.
    is_partial = isinstance(model, keras.Sequential) and not all(layer.built for layer in model.layers)
    if not model.built or not model.weights or is_partial:
        raise ValueError(
            f"`{name}` must be built: add a `keras.Input`, or call it once. Received: {name}={model.name!r} "
            f"without {'all ' if is_partial else ''}weights"
        )
    return model


def find_weights(model: keras.Layer) -> list[ModelWeight]:
    """Return the weights of a model or a layer, in the order of its layers. A shared weight is listed once.

    Raises:
        ValueError: If two weights have the same path, or the model does not use a weight.
    """
    weights = weights_within(model)
    for weight in weights:
        if obstacle := backend.obstacle(weight.layer, weight.variable):
            raise ValueError(
                f"`model` must use its weights. Received: model={model.name!r}, whose {weight.path!r} {obstacle}"
            )
    for path, count in Counter(weight.path for weight in weights).items():
        if count > 1:
            raise ValueError(
                f"`model` must have one weight at each path: give layers and weights inside a layer distinct names. "
                f"Received: model={model.name!r} with {count} weights at {path!r}"
            )
    return weights


def weights_within(layer: keras.Layer) -> list[ModelWeight]:
    """Return the same as `find_weights`, where weights may have the same path."""
    return list(_walk((layer,), ("",), set()))


def _walk(layers: tuple[keras.Layer, ...], paths: tuple[str, ...], seen: set[int]) -> Iterator[ModelWeight]:
    layer, prefix = layers[-1], paths[-1] and f"{paths[-1]}/"
    own = [weight for weight in own_weights(layer) if id(weight) not in seen]
    seen.update(map(id, own))
    names = _numbered((weight.name, automatic_name(weight.name, "variable")) for weight in own)
    for weight, name in zip(own, names, strict=True):
        yield ModelWeight(f"{prefix}{name}", weight, layers, paths)
    parts = [part for part in parts_of(layer, recursive=False) if part.weights]
    names = _numbered((part.name, _automatic(layer, part)) for part in parts)
    for part, name in zip(parts, names, strict=True):
        yield from _walk((*layers, part), (*paths, f"{prefix}{name}"), seen)


def _automatic(layer: keras.Layer, part: keras.Layer) -> tuple[str, int] | None:
    """Return the stem and number of an automatic name of `part`, a direct sublayer of `layer`; otherwise `None`."""
    class_name = type(part).__name__
    if isinstance(layer, keras.layers.Bidirectional):  # `forward_lstm_3`
        prefix, mark, name = part.name.partition("_")
        found = automatic_name(name, class_name)
        return found and (f"{prefix}{mark}{found[0]}", found[1])
    return automatic_name(part.name, class_name)


def _numbered(names: Iterable[tuple[str, tuple[str, int] | None]]) -> list[str]:
    """Return the names, with automatic names of each stem renumbered 0, 1, 2, ... in order of creation.

    Args:
        names: Pairs of a name, and its stem and number if it is automatic.
    """
    pairs = list(names)
    result = [name for name, _ in pairs]
    counts: Counter[str] = Counter()
    for (stem, _), place in sorted((automatic, place) for place, (_, automatic) in enumerate(pairs) if automatic):
        result[place] = f"{stem}_{counts[stem]}" if counts[stem] else stem
        counts[stem] += 1
    return result


def close_matches(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Return the end of a message about an unknown name: those that are like it, or nothing if there are none."""
    close = difflib.get_close_matches(name, known, cutoff=cutoff)
    return f"; close matches are {', '.join(map(repr, close))}" if close else ""


def seeds(root: int) -> Callable[[str], int]:
    """Return a function that derives the seed of a weight from its path.

    `initialize(model, seed=root)` uses these seeds. Use this function to define a model with the
    same seeds from the start. A seed depends only on the root and the path.

    Args:
        root: An integer in `[0, 2**32)`.

    Returns:
        A function that takes a path and returns an integer. A path is the names of the layers
        around a weight and its own name, joined by `/`, without the name of the model.

    Raises:
        TypeError: If `root` is not an integer.
        ValueError: If `root` is out of range.

    Example:
        >>> from keras_initx import HeNormal, initialize
        >>> seed = seeds(0)
        >>> kernel = HeNormal(seed=seed("hidden/kernel"))
        >>> hidden = keras.layers.Dense(8, kernel_initializer=kernel, name="hidden")
        >>> model = keras.Sequential([keras.Input((4,)), hidden])
        >>> before = keras.ops.convert_to_numpy(hidden.kernel)
        >>> plan = initialize(model, seed=0)
        >>> bool((before == keras.ops.convert_to_numpy(hidden.kernel)).all())
        True
    """
    return functools.partial(derived_seed, check_root("root", root))


def made_like(variable: keras.Variable, draw: Draw) -> Tensor:
    """Return drawn values, distributed over devices like the value of `variable`."""
    layout = backend.layout_of(variable.value)
    return draw.function() if layout is None else backend.distributed(draw, tuple(variable.shape), layout)


def refresh_normalizations(layers: Iterable[keras.Layer]) -> None:
    """Let each `Normalization` of `layers` compute with its weights: it makes tensors of them, which it keeps."""
    for layer in dict.fromkeys(layers):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def assign(values: Iterable[tuple[keras.Variable, Tensor]]) -> None:
    """Assign a value to each variable."""
    for variable, value in values:
        variable.assign(value)


@contextlib.contextmanager
def undone_after_error(atomic: bool = True) -> Iterator[Callable[[keras.Variable, Tensor], None]]:
    """Yield a function that assigns a value to a variable. If the context is left by an exception, that is undone.

    An interruption (Ctrl-C) is such an exception, and a second one does not end the undoing. Former values are kept
    until the end of the context, next to the new ones.

    Args:
        atomic: If false, nothing is kept or undone, and a note of the exception says what has been assigned.
    """
    former: list[tuple[keras.Variable, Tensor]] = []
    paths: list[str] = []

    def assign_one(variable: keras.Variable, value: Tensor) -> None:
        if atomic:
            former.append((variable, backend.snapshot(variable.value)))
        variable.assign(value)
        paths.append(variable.path)

    try:
        yield assign_one
    except BaseException as error:
        if paths and not atomic:
            error.add_note(f"{len(paths)} variables have new values, the last of them {paths[-1]!r}")
        while former:
            with contextlib.suppress(KeyboardInterrupt):
                assign(former[-1:])
                former.pop()
        raise


def is_quantized(layer: keras.layers.Layer) -> bool:
    """Return whether `layer` stores quantized integers: then its scales and biases are values of these integers."""
    # Layers without integers may have a quantization mode too: with float8, and from a global dtype policy.
    return layer.quantization_mode is not None and any(
        keras.backend.standardize_dtype(weight.dtype) not in DTYPES for weight in own_weights(layer)
    )


def weights_digest(model: keras.Model) -> str:
    """Return a digest of all weights of `model`. Models with equal weights have equal digests.

    The digest covers the paths, dtypes, shapes and bits of all weights, sorted by path. It does not
    depend on the backend, the machine, the number of devices, or on other objects in the process.

    Args:
        model: A built model.

    Returns:
        32 hexadecimal digits.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built, or two weights have the same path.

    Example:
        >>> from keras_initx import initialize
        >>> from keras_initx.models import weights_digest
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> plan = initialize(model, seed=0)
        >>> weights_digest(model)
        '47ba36bc2d1d7b6714b98d459a3b46ad'
    """
    whole = hashlib.blake2b(digest_size=16)
    for weight in sorted(find_weights(check_model("model", model)), key=lambda weight: weight.path):
        whole.update(f"{weight.path} {weight.dtype} {weight.shape}\n".encode())
        whole.update(np.ascontiguousarray(backend.host_view(weight.variable.value)).tobytes())
    return whole.hexdigest()
