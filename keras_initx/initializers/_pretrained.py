"""Initial weights from a file."""

import difflib
import hashlib
import math
import os
import re
from typing import Any, Self

import numpy as np

from keras_initx._checks import DTYPES, check_type, truncate
from keras_initx._keras import is_loading_model
from keras_initx._received import show
from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.files._casts import cast
from keras_initx.files._formats import FORMATS, Contents, check_file, open_arrays, suffix
from keras_initx.files._keras_files import enclosing_layers
from keras_initx.files._lazy import LazyArray
from keras_initx.initializers._initializer import Initializer, register
from keras_initx.sampling._namespace import choose_namespace
from keras_initx.sampling._stream import computing_dtype


@register(
    "pretrained",
    formula="the array key in the file path",
    use="fine-tuning: word vectors, a layer of another model",
)
class Pretrained(Initializer):
    """Load an array from a file.

    The file is read when the initializer is called, and only the array `key` is read. The config
    stores the path, not the values. A saved model contains its own weights: `load_model` neither
    reads nor needs this file.

    Nothing is unpickled. The array must have a floating-point dtype and the shape of the weight. If
    your weight has another shape, for example more words, use `load_pretrained(resize=...)`.

    Args:
        path: The file, a string or an `os.PathLike`: `.npy`, `.npz`, `.safetensors`, HDF5 (`.h5`,
            `.hdf5`, Keras' `.weights.h5`) or a saved model, `.keras`.
        key: Name of the array in the file; optional if the file has only one. HDF5 names are paths,
            e.g. `"layers/conv2d/vars/0"`. In a file of Keras you can also give the names of the
            layer and of the weight, `"conv1/kernel"`. Keras 3 stores a number instead of the name
            of the weight, `"conv1/0"`, so this takes the only array of the layer with the shape of
            the weight.
        sha256: SHA-256 digest of the file in hexadecimal digits, checked each time the file is
            read. By default it is not checked.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if the file does not exist, cannot
            be read or does not match `sha256`, if it has no array of that name, shape and a
            floating-point dtype, or if a finite number in it is beyond the range of the
            weight's dtype.

    Example:
        >>> import os, tempfile
        >>> import numpy as np
        >>> path = os.path.join(tempfile.mkdtemp(), "vectors.npz")
        >>> np.savez(path, words=np.full((3, 2), 0.5))
        >>> words = Pretrained(path, key="words")
        >>> keras.ops.convert_to_numpy(words((3, 2))).tolist()
        [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]

    Reference:
        Yosinski, Clune, Bengio and Lipson, "How transferable are features in deep neural
        networks?", NIPS 2014.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        key: str | None = None,
        *,
        sha256: str | None = None,
    ) -> None:
        self.path: str = _check_path(path)
        self.key: str | None = check_type("key", key, str | None, "a string or `None`")
        self.sha256: str | None = check_type("sha256", sha256, str | None, "a string or `None`")
        if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
            raise ValueError(
                f"`sha256` must be 64 hexadecimal digits. Received: sha256={show(sha256)}"
            )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the initializer with this config, even of a model saved with the argument `pad`.

        Such a model gets its saved weights. If you redraw it, another shape raises an error.
        """
        return super().from_config({name: config[name] for name in config if name != "pad"})

    def compute(self, shape: Shape, dtype: DType) -> Tensor:
        computed = computing_dtype(dtype)
        if is_loading_model():
            # These values will be overwritten. The author of a saved model must not decide which
            # files are opened here. If a layer does not save this weight, NaN cannot be mistaken
            # for a trained value.
            return choose_namespace(math.prod(shape)).full(shape, np.nan, computed)
        array = self._read(shape)
        try:
            return cast(cast(array, computed, copy=False), dtype, copy=False)
        except OverflowError as error:
            raise ValueError(
                "`dtype` must be able to hold the numbers in the file. "
                f"Received: dtype={show(dtype)}, "
                f"path={show(self.path)}, key={show(self.key)}, with {error}"
            ) from None

    def _read(self, shape: Shape) -> Array:
        """Return the array from the file, if it has this shape."""
        check_file("path", self.path)
        if self.sha256 is not None:
            with open(self.path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != self.sha256.lower():
                raise ValueError(
                    f"`sha256` must be the digest of the file, {digest!r}. "
                    f"Received: sha256={show(self.sha256)}, path={show(self.path)}"
                )
        with open_arrays("path", self.path) as contents:
            named = self._named(contents)
            fitting = [name for name in named if self._fits(contents[name], shape)]
            if len(fitting) != 1:
                raise ValueError(self._refusal(contents, named, shape))
            return contents[fitting[0]].read(...)

    def _named(self, contents: Contents) -> list[str | None]:
        """Return the arrays that `key` may mean. There are several if Keras has numbered them."""
        if self.key is None:
            return [*contents] if len(contents) == 1 else []
        if self.key in contents:
            return [self.key]
        layer, _, weight = self.key.rpartition("/")
        numbered: list[str | None] = []
        for name in contents:
            path = None if name is None else enclosing_layers(name, contents.layers)
            if path is None:
                continue
            if "/".join(path) == self.key:
                return [name]
            if "/".join(path[:-1]) == layer and path[-1].isdecimal():
                numbered.append(name)
        return [] if weight.isdecimal() else numbered

    def _fits(self, found: LazyArray, shape: Shape) -> bool:
        """Return whether an array of the file may be a weight of this shape."""
        return found.dtype in DTYPES and found.shape == shape

    def _refusal(self, contents: Contents, named: list[str | None], shape: Shape) -> str:
        """Return the error message for a file without an array for `key` and `shape`.

        Args:
            contents: The arrays of the file.
            named: The arrays that `key` may mean.
            shape: The shape of the weight.
        """
        found = contents[named[0]] if len(named) == 1 else None
        if found is None:
            rule = "`key` must be the name of an array in the file"
            if named:
                rule = (
                    "`key` must be the whole name of an array in the file, because the layer does "
                    "not have exactly one array of this shape"
                )
        elif found.dtype not in DTYPES:
            rule = f"`key` must name an array of a dtype in {DTYPES}"
        else:
            rule = (
                f"`shape` must be the shape of the array, {found.shape}; for another shape use "
                "`load_pretrained(resize=...)`"
            )
        # A misspelled name has close matches; a wrong shape has none.
        similar: list[str | None] = []
        if found is None:
            names = [name for name in contents if name]
            close = difflib.get_close_matches(self.key or "", names, n=len(contents) or 1)
            similar = [*named, *close]
        has = truncate(self._listed(contents, similar, shape)) or "nothing"
        return (
            f"{rule}. The file has: {has}. "
            f"Received: shape={shape}, key={show(self.key)}, path={show(self.path)}"
        )

    def _listed(self, contents: Contents, first: list[str | None], shape: Shape) -> list[str]:
        """Return a line for each array: those in `first`, then those that fit, then the others."""
        ranks = {name: rank for rank, name in enumerate(dict.fromkeys(first))}

        def place(name: str | None) -> tuple[int, bool]:
            return ranks.get(name, len(ranks)), not self._fits(contents[name], shape)

        listed = []
        for name in sorted(contents, key=place):
            listed.append(f"{name!r} {contents[name].shape} {contents[name].dtype}")
        return listed


def _check_path(path: object) -> str:
    required = (
        f"`path` must be the path of a file that ends in one of {tuple(FORMATS)}. "
        f"Received: path={show(path)}"
    )
    if not isinstance(path, str | os.PathLike):
        raise TypeError(required)
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(required)
    if suffix(name) not in FORMATS:
        raise ValueError(required)
    return name
