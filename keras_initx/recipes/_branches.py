"""A recipe for weights that scale the branches of a network: LayerScale, ReZero, adaLN-zero."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_initx._checks import check_number
from keras_initx._typing import Shape
from keras_initx.recipes._network import Network, Weights, network_of
from keras_initx.recipes._parts import Parts
from keras_initx.recipes._recipe import Recipe, recipe
from keras_initx.structure import find_weights

__all__ = ["branch_scales"]

# In the names or classes of layers and the names of weights, without underscores: layer scales, and
# scalars at the ends of branches.
_LAYER_SCALES = ("layerscale",)
_SCALARS = ("skipinit", "skipgain", "rezero", "resweight")
# Names of layer scales in the code of CaiT, DeiT and DINOv2. In torch, where the scales of
# normalizations are called `weight`, those of ConvNeXt and timm are called `gamma`.
_SCALE_NAMES = ("gamma_1", "gamma_2", "gamma_1_1", "gamma_2_1", "lambda1")
_TORCH_SCALE = "gamma"
# Layers that compute scales and gates of branches, and those at the end of the network.
_MODULATIONS = ("modulation", "adaln", "adalayernorm", "adaptivelayernorm", "adaptivenorm")
_FINAL = ("finallayer", "lastlayer", "outputdense")
_ATTENTION = ("attention", "attn", "qkv")
# What CaiT counts apart.
_CLASS_BLOCKS = "token_only"
# Where the name of a block ends and that of its layer scale begins.
_END_OF_BLOCK = re.compile("layer_?scale|ls[0-9]|gamma|lambda")


_KIND = "a network whose branches a weight scales, as CaiT, ConvNeXt, DINOv2 or DiT"


@recipe(
    kind=_KIND,
    sources="Touvron and others, 2021; Liu and others, 2022; De and Smith, 2020; Bachlechner and "
    "others, 2021; Peebles and Xie, 2023",
)
def branch_scales(model: Weights, *, layer_scale: float | None = None) -> Recipe:
    """Return rules for weights that scale the branches of a network, so that they start small.

    Each of these weights gets a rule:

    - The vectors of a LayerScale get a constant, by the depth: 0.1 in at most 18 blocks, 1e-5 in at
      most 24, else 1e-6. These are the numbers of CaiT's paper; its code has 1e-5 in XXS36 too.
      Blocks that attend for the class token alone are not counted. With depthwise convolutions they
      get 1e-6, as in ConvNeXt. DeiT III has 1e-4 and DINOv2 1e-5 at any depth: pass these.
    - The scalars of ReZero and SkipInit get 0.
    - In DiT a dense layer computes shift, scale and gate of each branch: adaLN-zero. Its kernel and
      bias get 0, if it has several dense layers those of the last; and so do those of the final
      layer.

    All other weights are initialized by their own layers. Put rules for them behind these: DiT's
    other kernels get `"initx.glorot_uniform"`, its embeddings of classes and times `N(0, 0.02²)`.

    The weights are known by their names or the classes of their layers, if these contain
    `layer_scale`, `skip_init`, `rezero`, `modulation`, `ada_layer_norm` or the like, as in
    KerasHub, `keras.applications` and the code of the authors. Otherwise they are found in the
    graph of the model: one weight must multiply the end of each branch. The layers of adaLN-zero
    are known by names only; the final one must be called `final_layer`, `last_layer` or
    `output_dense`.

    Args:
        model: A built model, or a dict from names to arrays, such as a state dict of torch.
        layer_scale: The constant of a LayerScale. By default it follows from the model.

    Raises:
        ValueError: If the model has no such weights, or `layer_scale` is not positive.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.applications.ConvNeXtTiny(weights=None, include_top=False)
        >>> rules = recipes.branch_scales(model)
        >>> len(rules)
        18
        >>> rules["convnext_tiny_stage_0_block_0_layer_scale/variable"]
        {'class_name': 'Constant', 'config': {'value': 1e-06}}

    Reference:
        Touvron, Cord, Sablayrolles, Synnaeve and Jégou, "Going deeper with image transformers",
        ICCV 2021, section 2, for LayerScale, and `cait_models.py` of its code. Liu and others, "A
        ConvNet for the 2020s", CVPR 2022. De and Smith, "Batch normalization biases residual blocks
        towards the identity function in deep networks", NeurIPS 2020, for SkipInit. Bachlechner and
        others, "ReZero is all you need: fast convergence at large depth", UAI 2021. Peebles and
        Xie, "Scalable diffusion models with transformers", ICCV 2023, for adaLN-zero, and
        `models.py` of its code.
    """
    if layer_scale is not None:
        check_number("layer_scale", layer_scale, positive=True)
    network = network_of("model", model)
    shapes = network.shapes
    if isinstance(model, keras.Model):
        places = _places_in_model(model)
    else:
        places = _places_of_arrays(shapes)
    starts: Recipe = {}
    scales = [place for place in places if place.is_layer_scale]
    if scales:
        if layer_scale is None:
            layer_scale = _constant(network, _block_count(scales))
        starts |= dict.fromkeys([place.path for place in scales], _initializer(layer_scale))
    starts |= dict.fromkeys([place.path for place in places if place.is_scalar], "zeros")
    if any(place.is_within(_ATTENTION) for place in places):
        starts |= dict.fromkeys(_zero_modulations(places), "zeros")
    if not starts and isinstance(model, keras.Model):
        parts = Parts("model", network, _KIND)
        vectors, scalars = _scales_at_ends(parts)
        if layer_scale is None:
            layer_scale = _constant(network, math.ceil(len(vectors) / 2))
        rules = dict.fromkeys(vectors, _initializer(layer_scale))
        return parts.recognized(rules | dict.fromkeys(scalars, "zeros"))
    if not starts:
        raise ValueError(
            "`model` must have weights that scale its branches, with 'layer_scale', 'skip_init', "
            "'rezero' or 'modulation' in the name or class of a layer; otherwise use "
            f"`zero_residual`, or write your own rules. Received: model with {next(iter(shapes))!r}"
        )
    return {path: starts[path] for path in shapes if path in starts}


def _scales_at_ends(parts: Parts) -> tuple[list[str], list[str]]:
    """Return the vectors and the scalars that multiply the ends of branches, whatever their names.

    Raises:
        ValueError: Unless each branch has one.
    """
    vectors: list[str] = []
    scalars: list[str] = []
    for branch in parts.branches:
        scales = []
        for operation in branch.after:
            if operation in parts.found.scales:
                scales.append(parts.found.scales[operation])
        sizes = [math.prod(scale.shape) for scale in scales]
        if len(scales) != 1 or sizes[0] != max(scales[0].shape, default=1):
            end = parts.last_kernel(branch)
            raise parts.refused(
                f"a branch that ends with {end!r}, after which no weight scales it, or several do; "
                "without such weights use `zero_residual`"
            )
        (vectors if sizes[0] > 1 else scalars).extend(parts.network.paths_of(scales))
    return vectors, scalars


@dataclass(frozen=True)
class _Place:
    """A weight, and the names around it.

    Attributes:
        path: Its path or name.
        shape: Its shape.
        around: The paths of the layers around it, from the outermost, each with its name and class
            in lower case, without underscores.
        name: Its own name.
        is_torch: Whether it is an array with a name of torch.
    """

    path: str
    shape: Shape
    around: tuple[tuple[str, str], ...]
    name: str
    is_torch: bool

    def is_within(self, marks: tuple[str, ...]) -> bool:
        """Return whether a layer around it has one of these marks."""
        return self.outermost(marks) is not None

    def outermost(self, marks: tuple[str, ...]) -> str | None:
        """Return the path of the outermost layer around it with one of these marks."""
        for path, text in self.around:
            if any(mark in text for mark in marks):
                return path
        return None

    @property
    def is_kernel(self) -> bool:
        """Whether it is the kernel of a dense layer."""
        return len(self.shape) == 2 and self.name in ("kernel", "weight")

    @property
    def is_layer_scale(self) -> bool:
        """Whether it is the vector of a LayerScale."""
        if self.name in ("bias", "beta") or math.prod(self.shape) != max(self.shape, default=0):
            return False
        if self.name in _SCALE_NAMES or self._is_called(_LAYER_SCALES):
            return True
        is_normalization = self.is_within(("norm", "grn"))
        return self.is_torch and self.name == _TORCH_SCALE and not is_normalization

    @property
    def is_scalar(self) -> bool:
        """Whether it is the scalar of a ReZero or a SkipInit."""
        return math.prod(self.shape) == 1 and self.name != "bias" and self._is_called(_SCALARS)

    def _is_called(self, marks: tuple[str, ...]) -> bool:
        """Return whether it or the layer that holds it has one of these marks."""
        texts = [_plain(self.name)]
        if self.around:
            texts.append(self.around[-1][1])
        return any(mark in text for mark in marks for text in texts)


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _places_in_model(model: keras.Model) -> list[_Place]:
    places = []
    for weight in find_weights(model):
        around = []
        for layer, path in zip(weight.layers[1:], weight.layer_paths[1:], strict=True):
            around.append((path, _plain(f"{layer.name} {type(layer).__name__}")))
        places.append(_Place(weight.path, weight.shape, tuple(around), weight.name, False))
    return places


def _places_of_arrays(shapes: Mapping[str, Shape]) -> list[_Place]:
    places = []
    for path, shape in shapes.items():
        *parts, name = path.split(".")
        around = []
        for end, part in enumerate(parts, start=1):
            around.append((".".join(parts[:end]), _plain(part)))
        places.append(_Place(path, shape, tuple(around), name, True))
    return places


def _initializer(layer_scale: float) -> dict[str, Any]:
    """Return a constant. Unlike that of Keras' object, its config can be printed."""
    return {"class_name": "Constant", "config": {"value": layer_scale}}


def _constant(network: Network, blocks: int) -> float:
    """Return the constant of ConvNeXt, or that of CaiT by the depth, for the layer scales."""
    if network.depthwise or network.separable:
        return 1e-6
    if blocks <= 18:
        return 0.1
    if blocks <= 24:
        return 1e-5
    return 1e-6


def _block_count(scales: list[_Place]) -> int:
    """Return the number of blocks in which these layer scales are."""
    counted = [place for place in scales if _CLASS_BLOCKS not in place.path]
    blocks = len({_block_of(place) for place in counted})
    if blocks <= 1:
        # The names tell no blocks apart. Each has two branches.
        blocks = math.ceil(len(counted) / 2)
    return blocks


def _block_of(scale: _Place) -> str:
    """Return where the block of a layer scale is."""
    start, *end = _END_OF_BLOCK.split(scale.path, maxsplit=1)
    if end or len(scale.around) < 2:
        return start
    return scale.around[-2][0]


def _zero_modulations(places: list[_Place]) -> list[str]:
    """Return the weights that adaLN-zero sets to 0, also in the final layer."""
    last = {}  # the last kernel of each modulation
    for place in places:
        modulation = place.outermost(_MODULATIONS)
        if modulation is not None and place.is_kernel:
            last[modulation] = place
    if not last:
        return []
    kernels = list(last.values())
    kernels += [place for place in places if place.is_kernel and place.is_within(_FINAL)]
    zero = []
    for kernel in kernels:
        zero += [kernel.path, kernel.path.removesuffix(kernel.name) + "bias"]
    return zero
