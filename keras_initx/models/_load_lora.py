"""LoRA in a model that is loaded, and in a source: no factor may be lost, or be in the way."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from keras_initx._array_files import Region, Stored
from keras_initx._casts import cast
from keras_initx._typing import Array
from keras_initx.models._layouts import Candidate
from keras_initx.models._loading import unwritten
from keras_initx.models._lora import Adapter, Matrix, adapters, is_trained, lora_scale
from keras_initx.structure import ModelWeight, is_quantized


class Lora:
    """The kernels to which layers add the product of two factors.

    Args:
        weights: The weights of the model that is loaded.
        source: Those of the source, if that is a model.
    """

    def __init__(self, weights: Sequence[ModelWeight], source: Sequence[ModelWeight]) -> None:
        self._of_model = {one.kernel.path: one for one in adapters(weights)}
        # Those whose product is not zero. In a block of `loading` it is not known yet.
        self._trained = set()
        for path, one in self._of_model.items():
            if is_trained(one.b) and not unwritten(one.b.variable.value):
                self._trained.add(path)
        self._of_source = {one.kernel.path: one for one in adapters(source) if is_trained(one.b)}
        # By the paths of second factors.
        self._scales = {one.b.path: lora_scale(one.a) for one in self._of_model.values()}
        self._source_scales = {one.b.path: lora_scale(one.a) for one in self._of_source.values()}

    def to_merge(
        self, weight: ModelWeight, name: str, chosen: Mapping[str, Candidate]
    ) -> Adapter | None:
        """Return the kernel `name` of the source with the factors to add to it, to make `weight`.

        It is `None` if there are none, or if they are loaded into the factors of the same layer.

        Args:
            weight: The weight.
            name: The name of the array that it is made from.
            chosen: What each weight that is loaded is made from, by path.
        """
        given = self._of_source.get(name)
        own = self._of_model.get(weight.path)
        if given is None or own is None:
            return given
        names = [chosen[factor.path].names for factor in (own.a, own.b) if factor.path in chosen]
        if names == [(given.a.path,), (given.b.path,)]:
            return None
        return given

    def problem(
        self,
        weight: ModelWeight,
        name: str,
        chosen: Mapping[str, Candidate],
        skipped: Collection[str],
    ) -> str:
        """Return why `weight` cannot be made from the array `name`, empty if it can.

        Args:
            weight: See `to_merge`.
            name: See `to_merge`.
            chosen: See `to_merge`.
            skipped: The paths of the weights that a rule leaves unchanged.
        """
        own = self._of_model.get(weight.path)
        is_left = own is not None and own.b.path not in {*chosen, *skipped}
        if is_left and weight.path in self._trained:
            return (
                "its layer adds LoRA factors that are not zero and are not loaded: map them, map "
                "them to `None`, or call `initialize_lora` before"
            )
        to_merge = self.to_merge(weight, name, chosen)
        if to_merge is not None and is_quantized(to_merge.kernel.layer):
            return (
                "LoRA factors cannot be merged with a quantized kernel: save the source with "
                "Keras, which merges them, and pass the model that it loads"
            )
        scale = self._scales.get(weight.path)
        required = self._source_scales.get(name)
        if required is not None and scale not in (None, required):
            return f"its layer has a `lora_alpha / lora_rank` of {scale}, not {required}"
        return ""


def merged_kernel(adapter: Adapter, contents: Mapping[str, Stored]) -> Stored:
    """Return a kernel plus the product of its factors, as Keras saves it, in the kernel's dtype.

    Reading it raises `OverflowError` if that cannot hold a value.

    Args:
        adapter: The kernel and its factors.
        contents: The arrays of the source.
    """
    kernel, a, b = (contents[weight.path] for weight in adapter)
    scale = lora_scale(adapter.a)

    def read(region: Region) -> Array:
        values = kernel.read(region)
        left = a.read(...)
        right = b.read(...).astype("float64")
        if region is not ...:
            left = left[region[:-1]]
            right = right[:, region[-1]]
        left = scale * left.astype("float64").reshape(-1, len(right))
        found: Array = np.empty(values.shape, values.dtype)
        rows_of_it = found.reshape(len(left), -1)
        matrix = Matrix(values.reshape(rows_of_it.shape), [(left, right)])
        with np.errstate(invalid="ignore"):  # of infinite numbers
            for rows, block in matrix.blocks():
                rows_of_it[rows] = cast(block, values.dtype.name)
        return found

    return Stored(kernel.shape, kernel.dtype, read)
