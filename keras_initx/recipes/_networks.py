"""Recipes for plain, recurrent and residual networks."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_initx._checks import check_count, check_flag
from keras_initx.initializers import LSTMForgetBias, Orthogonal, Scaled, VarianceScaling
from keras_initx.recipes._blocks import (
    check_normalization,
    check_not_normalized,
    count_of,
    matching,
    paths,
)
from keras_initx.recipes._network import network_of, readers_of
from keras_initx.recipes._parts import Parts
from keras_initx.recipes._recipe import Recipe, recipe
from keras_initx.structure import (
    ModelWeight,
    activation_name,
    find_weights,
    layer_paths,
    matching_paths,
)

__all__ = ["fixup", "orthogonal_rnn", "selu", "spectral", "zero_residual"]


# Activations of networks that do not normalize themselves, for which He's weights are usual.
_OF_HE = ("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish")


@recipe(
    kind="a network with the activation `selu`",
    sources="Klambauer and others, 2017",
)
def selu(model: keras.Model) -> Recipe:
    """Return rules for self-normalizing networks: LeCun normal kernels, zero biases.

    With the activation `selu` and inputs of mean 0 and variance 1, signals keep approximately this
    mean and variance. Use `keras.layers.AlphaDropout` for dropout.

    Args:
        model: A built model.

    Raises:
        ValueError: If the model has activations such as ReLU.

    Example:
        >>> from keras_initx import recipes
        >>> recipes.selu(keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "selu")]))
        {'*kernel': 'initx.lecun_normal', '*bias': 'zeros'}

    Reference:
        Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NIPS 2017.
    """
    found = []
    for layer, path in layer_paths(model).items():
        activation = activation_name(layer)
        if activation in _OF_HE:
            found.append(f"{path!r} ({activation})")
    if found:
        raise ValueError(
            f"`model` must be a network without the activations {_OF_HE}: for one that has them "
            "use `initx.he_normal`, or write your own rules. Received: "
            f"model={model.name!r} with {len(found)} of them, {found[0]} first"
        )
    return {"*kernel": "initx.lecun_normal", "*bias": "zeros"}


@recipe(
    kind="a network with an LSTM, a GRU or a simple RNN whose cell has its default name",
    sources="Saxe and others, 2014; Jozefowicz and others, 2015",
    marks=(
        "*lstm_cell*/recurrent_kernel",
        "*gru_cell*/recurrent_kernel",
        "*simple_rnn_cell*/recurrent_kernel",
    ),
)
def orthogonal_rnn(model: keras.Model) -> Recipe:
    """Return rules for recurrent networks: orthogonal recurrent kernels, forget-gate biases 1.

    Recurrent kernels are orthogonal in each gate. Input kernels get Glorot uniform weights. Weights
    of other layers are initialized by their own layers. Recurrent cells must have their default
    names.

    Args:
        model: See `selu`.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.Sequential([keras.Input((5, 4)), keras.layers.LSTM(8)])
        >>> list(recipes.orthogonal_rnn(model))
        ['*lstm_cell*/recurrent_kernel', '*lstm_cell*/bias', '*_cell*/kernel']

    Reference:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
        linear neural networks", ICLR 2014. Jozefowicz, Zaremba and Sutskever, "An empirical
        exploration of recurrent network architectures", ICML 2015, for the forget bias.
    """
    return {
        "*lstm_cell*/recurrent_kernel": Orthogonal(blocks=4),
        "*gru_cell*/recurrent_kernel": Orthogonal(blocks=3),
        "*simple_rnn_cell*/recurrent_kernel": Orthogonal(),
        "*lstm_cell*/bias": LSTMForgetBias(1.0),
        "*_cell*/kernel": "initx.glorot_uniform",
    }


@recipe(
    kind="a network that is trained at several widths, with muP",
    sources="Yang, Simon and Bernstein, 2023",
)
def spectral(model: keras.Model) -> Recipe:
    """Return the rules of the spectral condition, for training that does not depend on the width.

    The kernels of dense, einsum, attention and recurrent layers get a multiple of a random
    orthogonal matrix: all singular values are `sqrt(fan_out / fan_in)`. Convolutions get
    `Spectral`, which has the same standard deviation as these. Biases are 0. Embeddings use the
    initializers of their layers, which do not depend on the width. Learning rates must be scaled
    with the width as well: see `mup`.

    Orthogonal matrices take longer to draw than independent numbers. In a large model use the rules
    `{"*kernel": "initx.spectral", "*bias": "zeros"}`, with which the largest singular value is up
    to twice as large.

    Args:
        model: See `selu`.

    Example:
        >>> from keras_initx import recipes
        >>> hidden = keras.layers.Dense(16, name="hidden")
        >>> rules = recipes.spectral(keras.Sequential([keras.Input((4,)), hidden]))
        >>> rules["hidden/kernel"].gain
        2.0

    Reference:
        Yang, Simon and Bernstein, "A spectral condition for feature learning", arXiv:2310.17813,
        2023.
    """
    rules: Recipe = {}
    has_others = False
    for weight in find_weights(model):
        if not weight.path.endswith("kernel"):
            continue
        gain = _spectral_gain(weight)
        if gain is None:
            has_others = True
        else:
            rules[weight.path] = Orthogonal(gain=gain)
    if has_others:
        rules["*kernel"] = "initx.spectral"
    rules["*bias"] = "zeros"
    return rules


def _spectral_gain(weight: ModelWeight) -> float | None:
    """Return the singular values of a kernel that is a matrix, otherwise `None`."""
    if weight.axes is None or weight.fans is None:
        return None
    input_axes, unit_axes = weight.axes
    all_axes = list(range(len(weight.shape)))
    if sorted((*input_axes, *unit_axes)) != all_axes:
        return None
    fan_in, fan_out = weight.fans
    return math.sqrt(fan_out / fan_in)


_FIXUP = "a residual network without normalization, with scalar biases and factors"
_ZERO_RESIDUAL = "a residual network, or a transformer that normalizes before each branch"
# The branch kernels of residual networks in KerasHub and `keras.applications`; number 0 is on the
# shortcut.
_FIRST_KERNEL = "*_block*_1_conv/kernel"
# The last kernels of the two branches of a transformer block.
_PROJECTIONS = (
    ("*/attention_output/kernel", "*/feedforward_output_dense/kernel"),
    ("*/attention_output/kernel", "*/mlp/dense_1/kernel"),
)


@recipe(
    kind=_FIXUP,
    sources="Zhang and others, 2019, by its code",
    layers=lambda network: (
        network.is_convolutional and network.adds and not network.concatenated and not network.norms
    ),
    refuses=False,  # names tell the branches
)
def fixup(branches: keras.Model | int, *, depth: int | None = None, strict: bool = True) -> Recipe:
    """Return the rules of Fixup: He normal kernels, smaller with the depth, last ones 0.

    They are for residual networks without normalization.

    The last kernel of each branch is 0, so that each block starts as the identity. The other
    kernels in a branch of `m` kernels get He normal weights times `L^(-1 / (2 m - 2))`, where `L`
    is the number of branches. Kernels on shortcuts get He normal weights. Both are scaled by
    fan-out, as in the authors' code: the standard deviation is `sqrt(2 / fan_out)`. The paper
    leaves the choice open. The last layer of the network, `predictions`, is 0, all other kernels
    get He normal weights by fan-in, and biases are 0.

    Fixup also needs changes to the architecture: no normalization, a scalar bias before each kernel
    and each activation, and a scalar factor at the end of each branch, which starts at 1. The
    branch kernels are known by the names `..._block..._1_conv`, `..._2_conv` and so on, as in
    KerasHub's `ResNetBackbone` and in `keras.applications`. In a model without these names the
    branches, shortcuts and last layers are found in its graph.

    Args:
        branches: The number of branches, or a built model to count them in.
        depth: Number of kernels in each branch, at least 2. By default inferred from the model;
            required if `branches` is a number.
        strict: Whether to refuse a model with normalization layers.

    Raises:
        ValueError: If `branches` is a model without branches of several kernels, with normalization
            layers or with branches that are concatenated, or a number without `depth`.

    Example:
        >>> from keras_initx import recipes
        >>> rules = recipes.fixup(16, depth=3)
        >>> rules["*_block*_3_conv/kernel"], rules["*_block*_2_conv/kernel"].factor
        ('zeros', 0.5)

    Reference:
        Zhang, Dauphin and Ma, "Fixup initialization: residual learning without normalization", ICLR
        2019, and `imagenet/models/fixup_resnet_imagenet.py` of its code.
    """
    check_flag("strict", strict)
    if isinstance(branches, keras.Model):
        network = network_of("branches", branches)
        if not network.has(_FIRST_KERNEL):
            if strict:
                check_not_normalized("branches", branches, "`zero_residual`")
            return _fixup_by_graph(Parts("branches", network, _FIXUP), depth)
    count = count_of("branches", branches, _FIRST_KERNEL)
    if isinstance(branches, keras.Model):
        found = _depth(paths(branches))
        _check_branches_are_added("branches", branches, f"*_block*_{found}_conv/kernel")
        if depth is None:
            depth = found
    if strict:
        check_not_normalized("branches", branches, "`zero_residual`")
    if depth is None:
        raise ValueError(
            f"`depth` is required if `branches` is a number. Received: {branches=!r}, depth=None"
        )
    if check_count("depth", depth) < 2:
        raise ValueError(f"`depth` must be at least 2. Received: {depth=!r}")
    factor = count ** (-1 / (2 * depth - 2))
    he = VarianceScaling(2.0, "fan_out", "truncated_normal")
    rules: Recipe = {f"*_block*_{depth}_conv/kernel": "zeros"}
    for place in range(1, depth):
        rules[f"*_block*_{place}_conv/kernel"] = Scaled(he, factor)
    rules["*_block*_conv/kernel"] = he
    rules["*predictions/kernel"] = "zeros"
    rules["*kernel"] = "initx.he_normal"
    rules["*bias"] = "zeros"
    return rules


def _fixup_by_graph(parts: Parts, depth: int | None) -> Recipe:
    """Return the rules of Fixup for a model with names of its own."""
    if parts.found.attends:
        raise parts.refused("attention: use `t_fixup`")
    rules = parts.zeros_at_ends()
    he = VarianceScaling(2.0, "fan_out", "truncated_normal")
    shortcuts = []
    for branch in parts.branches:
        kernels = parts.kernels_in(branch.operations)
        if len(kernels) < 2 or depth not in (None, len(kernels)):
            end = parts.last_kernel(branch)
            raise parts.refused(
                f"{len(kernels)} kernels in the branch that ends with {end!r}, which must have "
                f"{depth or 'at least 2'}"
            )
        factor = len(parts.branches) ** (-1 / (2 * len(kernels) - 2))
        for weight in kernels:
            rules.setdefault(weight.path, Scaled(he, factor))
        shortcuts += parts.kernels_in(branch.shortcut)
    rules |= {weight.path: he for weight in shortcuts}
    rules |= {weight.path: "zeros" for weight in parts.kernels_in(parts.found.outputs)}
    rules |= {"*kernel": "initx.he_normal", "*bias": "zeros"}
    return parts.recognized(rules)


@recipe(
    kind=_ZERO_RESIDUAL,
    sources="Goyal and others, 2017, section 5.1",
)
def zero_residual(model: keras.Model) -> Recipe:
    """Return rules that start each residual branch at 0, and so each block as the identity.

    If a branch ends with a normalization, its scale is 0; otherwise its last kernel is 0. All other
    weights are initialized by their own layers.

    The patterns match the residual networks of KerasHub and `keras.applications`, and transformers
    with the layer names of Keras' attention and KerasHub's dense layers. In a model without these
    names the ends of the branches are found in its graph. A branch that ends with a ReLU is
    refused there: its zeros would get no gradient.

    A transformer must normalize at the start of each branch (pre-norm), as in GPT-2 and ViT. One
    that normalizes after each sum, as BERT and BART, is refused: its blocks do not start as the
    identity.

    Args:
        model: A built model.

    Raises:
        ValueError: If the model has no branch of which it is known how it ends, branches that are
            concatenated, as in a DenseNet, or a normalization after each sum, as BERT has.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3))
        >>> recipes.zero_residual(model)
        {'*_block*_3_bn/gamma': 'zeros'}

    Reference:
        Goyal and others, "Accurate, large minibatch SGD: training ImageNet in 1 hour",
        arXiv:1706.02677, 2017, section 5.1, for the scale of the last normalization.
    """
    found = paths(model)
    check_normalization("model", model, is_first=True)
    candidates: list[tuple[str, ...]] = []
    last = _depth(found)
    if last:
        last_kernel = f"*_block*_{last}_conv/kernel"
        _check_branches_are_added("model", model, last_kernel)
        candidates = [(f"*_block*_{last}_bn/gamma",), (last_kernel,)]
    for patterns in [*candidates, *_PROJECTIONS]:
        if all(matching_paths(pattern, found) for pattern in patterns):
            return dict.fromkeys(patterns, "zeros")
    parts = Parts("model", network_of("model", model), _ZERO_RESIDUAL)
    if parts.found.normalizes_first is False:
        raise parts.refused("a normalization after each sum: its blocks do not start as identities")
    return parts.recognized(parts.zeros_at_ends())


def _depth(found: Sequence[str]) -> int:
    """Return the largest kernel number in a branch, or 0 if there are none."""
    depth = 0
    while matching_paths(f"*_block*_{depth + 1}_conv/kernel", found):
        depth += 1
    return depth


def _check_branches_are_added(name: str, model: keras.Model, pattern: str) -> None:
    """Raise `ValueError` if a layer whose weight matches `pattern` has a concatenated output.

    As in a DenseNet. Only functional models are known well enough.
    """
    weights = matching(model, pattern)
    parents = {id(weight.layers[-2]): weight.layers[-2] for weight in weights}
    readers: dict[int, list[Any]] = {}
    for parent in parents.values():
        for tensor, operations in readers_of(parent).items():
            readers.setdefault(tensor, []).extend(operations)
    found = []
    for weight in weights:
        if _is_concatenated(weight.layer, readers):
            found.append(weight.layer_paths[-1])
    if found:
        raise ValueError(
            f"`{name}` must be a model that adds its branches to their inputs: a branch that is "
            "concatenated and starts at 0 gives zeros to all blocks after it. Leave its weights to "
            f"`initialize` without rules. Received: {name}={model.name!r} with {len(found)} "
            f"concatenated branches, that of {found[0]!r} first"
        )


def _is_concatenated(layer: keras.Layer, readers: dict[int, list[Any]]) -> bool:
    """Return whether the output of `layer` is concatenated before it is combined in another way."""
    tensors = keras.tree.flatten(getattr(layer, "output", ()))
    while tensors:
        tensor = tensors.pop()
        for reader in readers.get(id(tensor), ()):
            if type(reader).__name__ == "Concatenate":  # a layer, or an operation of `keras.ops`
                return True
            if len(keras.tree.flatten(reader.input)) == 1:
                tensors += keras.tree.flatten(reader.output)
    return False
