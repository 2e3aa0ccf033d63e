"""LoRA in a model that is loaded, and in a source: no factor may be lost, or be in the way."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from keras_initx.backends import backend
from keras_initx.models._layouts import Candidate
from keras_initx.models._loading import unwritten
from keras_initx.structure import ModelWeight


class Lora:
    """The kernels to which layers add the product of two factors.

    Args:
        weights: The weights of the model that is loaded.
        source: Those of the source, if that is a model.
    """

    def __init__(self, weights: Sequence[ModelWeight], source: Sequence[ModelWeight]) -> None:
        self._of_model = _factors_of(weights)
        self._of_source = {}
        for path, factors in _factors_of(source).items():
            if factors.are_trained:
                self._of_source[path] = factors
        # By the paths of second factors.
        self._scales = {one.b.path: one.scale for one in self._of_model.values()}
        self._source_scales = {one.b.path: one.scale for one in self._of_source.values()}

    def problem(
        self,
        weight: ModelWeight,
        name: str,
        chosen: Mapping[str, Candidate],
        skipped: Collection[str],
    ) -> str:
        """Return why `weight` cannot be made from the array `name`, empty if it can.

        Args:
            weight: The weight.
            name: The name of the array that it is made from.
            chosen: What each weight that is loaded is made from, by path.
            skipped: The paths of the weights that a rule leaves unchanged.
        """
        own = self._of_model.get(weight.path)
        given = self._of_source.get(name)
        if given is not None and not _are_loaded(given, own, chosen):
            return (
                "the source adds LoRA factors to it: load these into factors too, or save the "
                "source with Keras, which merges them, and pass the model that it loads"
            )
        if own is not None and own.b.path not in {*chosen, *skipped} and own.are_trained:
            return (
                "its layer adds LoRA factors that are not zero and are not loaded: map them, or "
                "map them to `None`"
            )
        scale = self._scales.get(weight.path)
        required = self._source_scales.get(name)
        if required is not None and scale not in (None, required):
            return f"its layer has a `lora_alpha / lora_rank` of {scale}, not {required}"
        return ""


class _Factors(NamedTuple):
    """The two factors that a layer adds to a kernel."""

    a: ModelWeight
    b: ModelWeight

    @property
    def scale(self) -> float:
        """The factor by which the layer multiplies their product."""
        return float(self.a.layer.lora_alpha / self.a.layer.lora_rank)

    @property
    def are_trained(self) -> bool:
        """Whether the product is not zero any more. In a block of `loading` it is not known yet."""
        value = self.b.variable.value
        return backend.has_nonzero(value) and not unwritten(value)


def _factors_of(weights: Iterable[ModelWeight]) -> dict[str, _Factors]:
    """Return the factors of each kernel that has some, by its path."""
    by_path = {weight.path: weight for weight in weights}
    found = {}
    for path, a in by_path.items():
        if a.name not in ("lora_kernel_a", "lora_embeddings_a"):
            continue
        if not getattr(a.layer, "lora_enabled", False):
            continue
        prefix = path.removesuffix(a.name)
        name = a.name.removeprefix("lora_").removesuffix("_a")
        found[f"{prefix}{name}"] = _Factors(a, by_path[f"{prefix}lora_{name}_b"])
    return found


def _are_loaded(given: _Factors, own: _Factors | None, chosen: Mapping[str, Candidate]) -> bool:
    """Return whether the factors of the source are loaded into those of a layer that adds them."""
    if own is None:
        return False
    names = [chosen[factor.path].names for factor in own if factor.path in chosen]
    return names == [(given.a.path,), (given.b.path,)]
