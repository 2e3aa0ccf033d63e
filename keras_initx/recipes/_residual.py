"""Recipes for residual networks: branches that start at zero."""

import fnmatch
from collections.abc import Sequence

import keras

from keras_initx._checks import check_count
from keras_initx.initializers import Scaled
from keras_initx.models._weights import check_model
from keras_initx.recipes._asked import Recipe, count_of, for_model, paths

# The kernels of the branches in the residual networks of KerasHub and `keras.applications`; 0 is the shortcut's.
_FIRST_KERNEL = "*_block*_1_conv/kernel"
# The last kernels of the two branches in a block of transformers.
_PROJECTIONS = (
    ("*/attention_output/kernel", "*/feedforward_output_dense/kernel"),
    ("*/attention_output/kernel", "*/mlp/dense_1/kernel"),
)


def fixup(branches: keras.Model | int, *, depth: int | None = None) -> Recipe:
    """Return the rules of Fixup, for residual networks without normalization.

    The last kernel of each branch is 0, so that each block starts as the identity. The other kernels of a branch of
    `m` kernels get He's weights times `L^(-1 / (2 m - 2))` where `L` is the number of branches; the last layer of the
    network, `predictions`, is 0, other kernels get He's weights, and biases are 0.

    The architecture is the other half: no normalization, a scalar bias before each kernel and each activation, and a
    scalar factor at the end of each branch, which starts at 1. The kernels of the branches have to be called
    `..._block..._1_conv`, `..._2_conv` and so on, as in KerasHub's `ResNetBackbone` and in `keras.applications`.

    Args:
        branches: The number of branches, or a built model, which is asked for it. With a model, rules that match none
            of its weights are left out.
        depth: Number of kernels in each branch, at least 2. By default that of the model; to be given with a number.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, `branches` is a model that calls its layers otherwise, or
            a number without `depth`.

    Example:
        >>> from keras_initx import recipes
        >>> rules = recipes.fixup(16, depth=3)
        >>> rules["*_block*_3_conv/kernel"], rules["*_block*_2_conv/kernel"].factor
        ('zeros', 0.5)

    Reference:
        Zhang, Dauphin and Ma, "Fixup initialization: residual learning without normalization", ICLR 2019.
    """
    count = count_of("branches", branches, _FIRST_KERNEL)
    if depth is None:
        if not isinstance(branches, keras.Model):
            raise ValueError(f"`depth` is needed where `branches` is a number. Received: {branches=!r}, depth=None")
        depth = _depth(paths(branches))
    if check_count("depth", depth) < 2:
        raise ValueError(f"`depth` must be at least 2. Received: {depth=!r}")
    factor = count ** (-1 / (2 * depth - 2))
    recipe: Recipe = {
        f"*_block*_{depth}_conv/kernel": "zeros",
        **{f"*_block*_{place}_conv/kernel": Scaled("initx.he_normal", factor) for place in range(1, depth)},
        "*predictions/kernel": "zeros",
        "*kernel": "initx.he_normal",
        "*bias": "zeros",
    }
    return for_model(recipe, branches)


def zero_residual(model: keras.Model) -> Recipe:
    """Return rules by which each residual branch starts at 0, and so each block as the identity.

    Where a branch ends with a normalization, its scale is 0; otherwise its last kernel is. All other weights get the
    initializers of their layers.

    The last weights are known of the residual networks of KerasHub and `keras.applications`, and of transformers whose
    layers have the names of Keras' attention and KerasHub's dense layers. The transformer has to be one that normalizes
    at the beginning of a branch, as GPT-2 and ViT; BERT, which normalizes after each sum, would start with a constant
    size all the same.

    Args:
        model: A built model.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built, or calls its layers otherwise.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), include_top=False)
        >>> recipes.zero_residual(model)
        {'*_block*_3_bn/gamma': 'zeros'}

    Reference:
        Goyal and others, "Accurate, large minibatch SGD: training ImageNet in 1 hour", arXiv:1706.02677, 2017, section
        5.1, for the scale of the last normalization.
    """
    found = paths(check_model("model", model))
    last = _depth(found)
    convolutions = ((f"*_block*_{last}_bn/gamma",), (f"*_block*_{last}_conv/kernel",)) if last else ()
    for patterns in (*convolutions, *_PROJECTIONS):
        if all(fnmatch.filter(found, pattern) for pattern in patterns):
            return dict.fromkeys(patterns, "zeros")
    known = " or ".join(repr(pattern) for pattern in (_FIRST_KERNEL, _PROJECTIONS[0]))
    raise ValueError(
        f"`model` must have branches with kernels at {known}: write rules for your names, as in "
        f'{{"*/last/kernel": "zeros"}}. Received: model={model.name!r} with {found[0]!r}'
    )


def _depth(found: Sequence[str]) -> int:
    """Return the largest number of a kernel in a branch, 0 if there are none."""
    depth = 0
    while fnmatch.filter(found, f"*_block*_{depth + 1}_conv/kernel"):
        depth += 1
    return depth
