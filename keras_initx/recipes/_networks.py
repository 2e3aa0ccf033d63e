"""Recipes for plain, recurrent and residual networks."""

import math

import keras

from keras_initx._typing import InitializerLike
from keras_initx.initializers._composition import Scaled
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._recurrent import LSTMForgetBias
from keras_initx.initializers._variance import VarianceScaling
from keras_initx.recipes._each_kernel import SIZES_NOT_KNOWN
from keras_initx.recipes._features import Feature
from keras_initx.recipes._parts import ENDS, Doubt, Part, Roles
from keras_initx.recipes._recipe import Computed, Recipe, RoleTable
from keras_initx.recipes._weight_rules import Left


def _selu() -> RoleTable:
    """Return rules for self-normalizing networks: LeCun normal kernels.

    Use it for networks with the activation `selu`. With inputs of mean 0 and variance 1, signals
    keep approximately this mean and variance. Use `keras.layers.AlphaDropout` for dropout.

    Example:
        >>> from keras_initx import recipes
        >>> recipes.selu(keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "selu")]))
        dense/kernel: initx.lecun_normal
        dense/bias: zeros

    Reference:
        Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NIPS 2017.
    """
    return {"kernel": "initx.lecun_normal", "bias": "zeros"}


selu: Recipe = Recipe(
    "selu",
    table=_selu,
    kind="a network with the activation `selu`",
    sources="Klambauer and others, 2017",
    needs=(Feature.SELU,),
    refuses=(Feature.HE,),
)


# The gates of each cell.
_GATES = {keras.layers.LSTMCell: 4, keras.layers.GRUCell: 3, keras.layers.SimpleRNNCell: 1}


def _recurrent(part: Part, roles: Roles) -> InitializerLike | None:
    """Choose the initializer for a weight of a recurrent cell."""
    for cell, gates in _GATES.items():
        if not isinstance(part.weight.layer, cell):
            continue
        if part.weight.name == "recurrent_kernel":
            return Orthogonal(blocks=gates)
        if part.by_name == "kernel":
            return "initx.glorot_uniform"
        return LSTMForgetBias(1.0) if gates == 4 else None
    return None


def _orthogonal_rnn() -> RoleTable:
    """Return rules for recurrent networks: orthogonal recurrent kernels, forget-gate biases 1.

    Use it if your model has LSTM, GRU or simple recurrent layers. All other layers initialize their
    own weights.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.Sequential([keras.Input((5, 4)), keras.layers.LSTM(8)])
        >>> recipes.orthogonal_rnn(model).by_path["lstm/lstm_cell/bias"]
        LSTMForgetBias()

    Reference:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
        linear neural networks", ICLR 2014. Jozefowicz, Zaremba and Sutskever, "An empirical
        exploration of recurrent network architectures", ICML 2015, for the forget bias.
    """
    kernel = "in cells: recurrent ones orthogonal in each gate, others `initx.glorot_uniform`"
    return {
        "kernel": Computed(kernel, _recurrent),
        "bias": Computed("of LSTM cells: 1 for the forget gate", _recurrent),
    }


orthogonal_rnn: Recipe = Recipe(
    "orthogonal_rnn",
    table=_orthogonal_rnn,
    kind="a network with an LSTM, a GRU or a simple RNN",
    sources="Saxe and others, 2014; Jozefowicz and others, 2015",
    needs=(Feature.CELL,),
)


def _orthogonal_or_spectral(part: Part, roles: Roles) -> InitializerLike | Left:
    """Choose an orthogonal initializer for a kernel that is a matrix."""
    weight = part.weight
    if weight.axes is None or weight.fans is None:
        return "initx.spectral"
    input_axes, unit_axes = weight.axes
    if sorted((*input_axes, *unit_axes)) != list(range(len(weight.shape))):
        return "initx.spectral"
    if part.kernels == 0:
        return SIZES_NOT_KNOWN
    fan_in, fan_out = weight.fans
    gain = math.sqrt(fan_out / part.kernels / fan_in)
    return Orthogonal(gain=gain, blocks=part.kernels)


def _spectral() -> RoleTable:
    """Return the rules of the spectral condition, for training that does not depend on the width.

    Kernels that are matrices get a multiple of a random orthogonal matrix: kernels of dense,
    einsum, attention and recurrent layers. Convolutions get `Spectral`, with the same standard
    deviation. Embeddings use the initializers of their layers, which do not depend on the width.
    You must scale the learning rates with the width as well: see `mup`.

    Orthogonal matrices take longer to draw than independent numbers. In a large model you can use
    the rules `{"*kernel": "initx.spectral", "*bias": "zeros"}`. With these rules the largest
    singular value is up to twice as large.

    Example:
        >>> from keras_initx import recipes
        >>> hidden = keras.layers.Dense(16, name="hidden")
        >>> rules = recipes.spectral(keras.Sequential([keras.Input((4,)), hidden]))
        >>> rules.by_path["hidden/kernel"].gain
        2.0

    Reference:
        Yang, Simon and Bernstein, "A spectral condition for feature learning", arXiv:2310.17813,
        2023.
    """
    kernel = Computed(
        "orthogonal, with singular values `sqrt(fan_out / fan_in)`, or `initx.spectral`",
        _orthogonal_or_spectral,
    )
    return {"kernel": kernel, "bias": "zeros"}


spectral: Recipe = Recipe(
    "spectral",
    table=_spectral,
    kind="a network that is trained at several widths, with muP",
    sources="Yang, Simon and Bernstein, 2023",
)


def _fixup() -> RoleTable:
    """Return the rules of Fixup: He normal kernels, smaller with the depth, last ones 0.

    Use it for residual networks without normalization. The last kernel of each branch is 0, so that
    each block starts as the identity. In the formulas, `L` is the number of branches on the path
    through the model, and `m` is the number of kernels of a branch, one after another. The kernels
    scale by fan-out, as in the authors' code; the paper leaves the choice open.

    Fixup also needs changes that you make in the model: no normalization, a scalar bias before each
    kernel and each activation, and a scalar factor at the end of each branch, which starts at 1.

    Example:
        >>> from keras_initx import recipes
        >>> x = inputs = keras.Input((8,))
        >>> for block in range(16):
        ...     y = keras.layers.Dense(8, "relu", name=f"first_{block}")(x)
        ...     x = x + keras.layers.Dense(8, name=f"second_{block}")(y)
        >>> rules = recipes.fixup(keras.Model(inputs, keras.layers.Dense(2)(x)))
        >>> rules.by_path["first_0/kernel"].factor
        0.25

    Reference:
        Zhang, Dauphin and Ma, "Fixup initialization: residual learning without normalization", ICLR
        2019, and `imagenet/models/fixup_resnet_imagenet.py` of its code.
    """
    # By fan-out, as in the code of the authors. The paper leaves the choice open.
    he = VarianceScaling(2.0, "fan_out", "truncated_normal")
    inner = Computed(
        "He normal by fan-out, times `L^(-1 / (2 m - 2))`",
        lambda part, roles: Scaled(he, part.role.branches ** (-1 / (2 * part.role.depth - 2))),
        needs=(Doubt.ENDS, Doubt.LENGTHS, Doubt.DEPTH, Doubt.END_AT_ZERO),
    )
    return {
        **dict.fromkeys(("inner", "gate", "up", "gate and up"), inner),
        "outer": "zeros",
        "shortcut": he,
        "last": "zeros",
        "kernel": "initx.he_normal",
        "bias": "zeros",
    }


fixup: Recipe = Recipe(
    "fixup",
    table=_fixup,
    kind="a residual network without normalization, with scalar biases and factors",
    sources="Zhang and others, 2019, by its code",
    needs=("inner", "outer"),
    refuses=(Feature.NORMALIZATION, Feature.ATTENTION_IN_BRANCH),
)


def _zero_residual() -> RoleTable:
    """Return rules that start each residual branch at 0, and so each block as the identity.

    Use it to train deep residual networks. If a branch ends with a normalization, the scale of this
    normalization is 0. If not, the last kernel of the branch is 0. All other weights are
    initialized by their own layers. If a branch ends with a ReLU, the recipe raises an error,
    because the zeros would get no gradient.

    In a diffusion transformer, outputs of another kernel multiply the branch. Then this kernel and
    its bias are 0, as in adaLN-Zero, and the last kernel of the branch is not.

    A transformer must normalize at the start of each branch (pre-norm), as GPT-2 and ViT do. If it
    normalizes after each sum, as BERT and BART do, the recipe raises an error, because its blocks
    do not start as the identity.

    Example:
        >>> from keras_initx import recipes
        >>> x = inputs = keras.Input((8,))
        >>> for block in range(2):
        ...     y = keras.layers.Dense(8, "gelu")(x)
        ...     x = x + keras.layers.Dense(8, name=f"second_{block}")(y)
        >>> recipes.zero_residual(keras.Model(inputs, keras.layers.Dense(2)(x)))
        second*/kernel (2): zeros

    Reference:
        Goyal and others, "Accurate, large minibatch SGD: training ImageNet in 1 hour",
        arXiv:1706.02677, 2017, section 5.1, for the scale of the last normalization. Peebles and
        Xie, "Scalable diffusion models with transformers", ICCV 2023, section 3.2, for adaLN-Zero.
    """
    closes = Computed(
        "`zeros` if it ends a branch",
        lambda part, roles: "zeros" if part.role.closes else None,
        needs=(Doubt.ENDS, Doubt.CLOSING),
    )
    return {
        **dict.fromkeys((*ENDS, "scale"), closes),
        **dict.fromkeys(("modulation", "modulation bias"), "zeros"),
        "kernel": None,
    }


zero_residual: Recipe = Recipe(
    "zero_residual",
    table=_zero_residual,
    kind="a residual network, or a transformer that normalizes before each branch",
    sources="Goyal and others, 2017, section 5.1; Peebles and Xie, 2023, section 3.2",
    refuses=(Feature.LAST,),
)
