"""Defaults of frameworks: each layer of a Keras model starts as in torch, Flax or Keras."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence

import keras

from keras_initx._keras import argument_name
from keras_initx._typing import InitializerLike
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._random import RandomNormal, RandomUniform, Triangular
from keras_initx.initializers._recurrent import LSTMForgetBias
from keras_initx.initializers._scale import default_axes, fans
from keras_initx.initializers._variance import VarianceScaling
from keras_initx.inspection._kernels import CONVOLUTIONS, NORMALIZATIONS, TRANSPOSED
from keras_initx.inspection._weights import ModelWeight
from keras_initx.recipes._layer_recipe import LayerRecipe, Place, Row, Start, always, is_keras_class
from keras_initx.recipes._recipe import Documentation

# The versions of which the tables were read.
TORCH = "2.13"
FLAX = "0.12.8"

_layers = keras.layers
# Layers with one kernel, which sum over its inputs.
_WITH_KERNEL = (
    _layers.Dense,
    _layers.EinsumDense,
    *CONVOLUTIONS,
    _layers.DepthwiseConv1D,
    _layers.DepthwiseConv2D,
)
_SEPARABLE = (_layers.SeparableConv1D, _layers.SeparableConv2D)
# Neither has these, of which the layers within would have a row.
ABSENT = (_layers.GroupQueryAttention,)
_NORMALIZED = {
    **dict.fromkeys(("gamma", "scale", "moving_variance"), always("ones")),
    **dict.fromkeys(("beta", "moving_mean"), always("zeros")),
}
_PROJECTIONS = ("query", "key", "value")
_OF_ATTENTION = (*_PROJECTIONS, "attention_output")


def _uniform(fan: float) -> InitializerLike:
    """Make `U(-1 / sqrt(fan), 1 / sqrt(fan))`, or zeros if the fan is 0, as torch does."""
    if not fan:
        return "zeros"
    limit = fan**-0.5
    return RandomUniform(-limit, limit)


def torch_kernel() -> VarianceScaling:
    """Return torch's default for kernels, `U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))`."""
    return VarianceScaling(1 / 3, "fan_in", "uniform")


def torch_bias(kernel: ModelWeight | None) -> InitializerLike | None:
    """Return torch's default for a bias, which has the bounds of the kernel of its layer."""
    if kernel is None:
        return None
    return _uniform(kernel.fans[0] if kernel.fans else 0)


_IN_TEXT = "U(±1 / sqrt(fan_in))"


def _beside(kernel: str) -> Start:
    """Return the start of a bias of torch, given the path of its kernel."""
    return Start(_IN_TEXT, lambda place: torch_bias(place.beside.get(kernel)))


def _by_outputs(place: Place) -> InitializerLike | None:
    """Return the start of a transposed convolution of torch, which counts its outputs as inputs."""
    kernel = place.beside.get("kernel")
    return None if kernel is None else _uniform(math.prod(kernel.shape[:-1]))


def _by_units(place: Place) -> InitializerLike:
    return _uniform(place.layer.units)


def _sum_of_biases(place: Place) -> InitializerLike:
    return Triangular(2 * place.layer.units**-0.5)


def _gru(place: Place) -> InitializerLike | None:
    return _by_units(place) if place.layer.reset_after else None


def _attention(place: Place) -> InitializerLike | None:
    """Return the start of torch's attention layer, whose heads divide the size of the queries."""
    shapes = {}
    for name in _OF_ATTENTION:
        kernel = place.beside.get(f"{name}/kernel")
        if kernel is None:
            return None
        shapes[name] = kernel.shape
    size = shapes["query"][0]
    for name in _PROJECTIONS:
        if math.prod(shapes[name][1:]) != size:
            return None
    if shapes["attention_output"][2:] != (size,):
        return None
    path = place.weight.path
    if path.endswith("/bias"):
        return "zeros"
    if path.endswith("attention_output/kernel"):
        return _uniform(size)
    inputs = [shapes[name][0] for name in _PROJECTIONS]
    units = size
    if inputs == [size] * 3:  # one matrix for all three
        units = 3 * size
    limit = math.sqrt(6 / (place.weight.shape[0] + units))
    return RandomUniform(-limit, limit)


def _torch() -> Sequence[Row]:
    """Return rules that start each layer as the same layer of `torch.nn` starts.

    Use it to compare your Keras model with a torch model. Each weight gets the distribution that
    torch draws from, not the values that a seed of torch gives. The rules are for single layers:
    `nn.Transformer` and the code of many models redraw their matrices, for example by
    `xavier_uniform_`, and this recipe does not.

    In LSTMs and simple RNNs, torch adds two biases and Keras has one. Keras' bias starts as the sum
    of torch's two. The fan of a transposed convolution is its window times its outputs, as in
    torch.

    These weights keep their values, because torch has no such layer:

    - a GRU without `reset_after`
    - attention in which `num_heads * key_dim` differs from the size of the queries
    - `ConvLSTM` and `GroupQueryAttention`
    - factors of LoRA
    - layers of your own

    Layers initialize their weights that are no parameters, such as moving means.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.Sequential([keras.Input((5, 16)), keras.layers.LSTM(64)])
        >>> recipes.torch(model)
        lstm/lstm_cell/kernel: RandomUniform(minval=-0.125, maxval=0.125)
        lstm/lstm_cell/recurrent_kernel: RandomUniform(minval=-0.125, maxval=0.125)
        lstm/lstm_cell/bias: Triangular(limit=0.25)

    Reference:
        The source of PyTorch 2.13; the page "Start as in torch" has the file and the function of
        each row.
    """
    linear = "`linear.py`: `Linear.reset_parameters`; `conv.py`: `_ConvNd.reset_parameters`"
    rnn = "`rnn.py`: `RNNBase.reset_parameters`"
    kernel = Start(_IN_TEXT, lambda place: torch_kernel())
    by_outputs = Start("U(±1 / sqrt(n)), n = window * outputs", _by_outputs)
    by_units = Start("U(±1 / sqrt(units))", _by_units)
    gru = Start("with `reset_after`: U(±1 / sqrt(units))", _gru)
    projection = Start("U(±sqrt(6 / 4E)) with one size E; else Glorot uniform", _attention)
    return (
        Row(_WITH_KERNEL, {"kernel": kernel, "bias": _beside("kernel")}, linear),
        Row(
            _SEPARABLE,
            {
                **dict.fromkeys(("depthwise_kernel", "pointwise_kernel"), kernel),
                "bias": _beside("pointwise_kernel"),
            },
            "`conv.py`: `_ConvNd.reset_parameters`, of two convolutions",
        ),
        Row(
            TRANSPOSED,
            dict.fromkeys(("kernel", "bias"), by_outputs),
            "`conv.py`: `_ConvNd.reset_parameters`; `init.py`: `_calculate_fan_in_and_fan_out`",
        ),
        Row(
            (_layers.Embedding,),
            {"embeddings": Start("N(0, 1)", lambda place: RandomNormal(stddev=1.0))},
            "`sparse.py`: `Embedding.reset_parameters`",
        ),
        Row(
            (_layers.LSTMCell, _layers.SimpleRNNCell),
            {
                **dict.fromkeys(("kernel", "recurrent_kernel"), by_units),
                "bias": Start("the sum of two: triangular, ±2 / sqrt(units)", _sum_of_biases),
            },
            rnn,
        ),
        Row(
            (_layers.GRUCell,),
            dict.fromkeys(("kernel", "recurrent_kernel", "bias"), gru),
            rnn,
        ),
        Row(
            (_layers.MultiHeadAttention,),
            {
                **{f"{name}/kernel": projection for name in _PROJECTIONS},
                "attention_output/kernel": Start("U(±1 / sqrt(E))", _attention),
                **{f"{name}/bias": Start("`zeros`", _attention) for name in _OF_ATTENTION},
            },
            "`activation.py`: `MultiheadAttention._reset_parameters`",
        ),
        Row(ABSENT, {}, ""),
        Row(
            NORMALIZATIONS,
            _NORMALIZED,
            "`batchnorm.py`: `_NormBase.reset_parameters`; `normalization.py`: "
            "`LayerNorm`, `GroupNorm` and `RMSNorm.reset_parameters`",
        ),
        Row(
            (_layers.PReLU,),
            {"alpha": Start("0.25", lambda place: keras.initializers.Constant(0.25))},
            "`activation.py`: `PReLU.reset_parameters`",
        ),
    )


torch: LayerRecipe = LayerRecipe(
    "torch",
    table=_torch,
    kind="any model",
    sources=f"PyTorch {TORCH}, by its code: the defaults of `torch.nn`",
    where="torch.nn",
)


def _flat(place: Place) -> InitializerLike:
    """Return LeCun's normal distribution with the fans that `DenseGeneral` takes.

    `DenseGeneral` flattens the kernel. Each axis that the inputs have counts as inputs, even if the
    outputs keep it, such as the axis of experts.
    """
    of_inputs, _, of_kernel = place.layer.equation.partition("->")[0].partition(",")
    inputs: list[int] = []
    units: list[int] = []
    for axis, letter in enumerate(of_kernel):
        (inputs if letter in of_inputs else units).append(axis)
    if place.weight.axes == (tuple(inputs), tuple(units)):
        return "initx.lecun_normal"
    return VarianceScaling(input_axes=inputs, output_axes=units)


def _by_window(place: Place) -> InitializerLike:
    """Return LeCun's normal distribution by the whole window, of which strides use only a part."""
    if place.weight.axes is None:
        return "initx.lecun_normal"
    inputs, units = place.weight.axes
    return VarianceScaling(input_axes=list(inputs), output_axes=list(units))


def _by_features(place: Place) -> InitializerLike:
    return RandomNormal(stddev=place.weight.shape[-1] ** -0.5)


def _gru_of_flax(place: Place) -> InitializerLike | None:
    if not place.layer.reset_after:
        return None
    if place.weight.name == "recurrent_kernel":
        return Orthogonal(blocks=3)
    return "initx.lecun_normal" if place.weight.name == "kernel" else "zeros"


def _flax() -> Sequence[Row]:
    """Return rules that start each layer as the same layer of Flax' linen starts.

    Use it to compare your Keras model with a Flax model. Each weight gets the distribution that
    Flax draws from, not the values that a key gives. Kernels get LeCun's truncated normal
    distribution. Recurrent kernels are orthogonal in each gate. Biases are 0, including the forget
    gates of an LSTM.

    These weights keep their values, because linen has no such layer:

    - a GRU without `reset_after`
    - `ConvLSTM`, because linen's adds 1 in its forget gates
    - `GroupQueryAttention`
    - factors of LoRA
    - layers of your own

    Layers initialize their weights that are no parameters, such as moving means.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.Sequential([keras.Input((5, 16)), keras.layers.LSTM(64)])
        >>> recipes.flax(model)
        lstm/lstm_cell/kernel: initx.lecun_normal
        lstm/lstm_cell/recurrent_kernel: Orthogonal(blocks=4)
        lstm/lstm_cell/bias: zeros

    Reference:
        The source of Flax 0.12.8; the page "Start as in torch" has the file and the function of
        each row.
    """
    zeros = always("zeros")
    lecun = Start("LeCun normal", lambda place: "initx.lecun_normal")
    one_kernel = {"kernel": lecun, "bias": zeros}
    separable = dict.fromkeys(("depthwise_kernel", "pointwise_kernel"), lecun)

    def recurrent(gates: int) -> Mapping[str, Start]:
        frame = Start("orthogonal in each gate", lambda place: Orthogonal(blocks=gates))
        return {"kernel": lecun, "recurrent_kernel": frame, "bias": zeros}

    return (
        Row(
            (_layers.EinsumDense,),
            {"kernel": Start("LeCun normal, by the flat kernel", _flat), "bias": zeros},
            "`linear.py`: `DenseGeneral`",
        ),
        Row(_WITH_KERNEL, one_kernel, "`linear.py`: `Dense`, `Conv`"),
        Row(_SEPARABLE, {**separable, "bias": zeros}, "`linear.py`: `Conv`, two of them"),
        Row(
            TRANSPOSED,
            {"kernel": Start("LeCun normal, n = window * inputs", _by_window), "bias": zeros},
            "`linear.py`: `ConvTranspose`",
        ),
        Row(
            (_layers.Embedding,),
            {"embeddings": Start("N(0, 1 / features)", _by_features)},
            "`linear.py`: `Embed`, `default_embed_init`",
        ),
        Row((_layers.LSTMCell,), recurrent(4), "`recurrent.py`: `LSTMCell`, `OptimizedLSTMCell`"),
        Row((_layers.SimpleRNNCell,), recurrent(1), "`recurrent.py`: `SimpleCell`"),
        Row(
            (_layers.GRUCell,),
            {
                "kernel": Start("with `reset_after`: LeCun normal", _gru_of_flax),
                "recurrent_kernel": Start("orthogonal in each gate", _gru_of_flax),
                "bias": Start("`zeros`", _gru_of_flax),
            },
            "`recurrent.py`: `GRUCell`",
        ),
        Row(
            (_layers.MultiHeadAttention,),
            {
                **{f"{name}/kernel": lecun for name in _OF_ATTENTION},
                **{f"{name}/bias": zeros for name in _OF_ATTENTION},
            },
            "`attention.py`: `MultiHeadDotProductAttention`",
        ),
        Row(ABSENT, {}, ""),
        Row(
            NORMALIZATIONS,
            _NORMALIZED,
            "`normalization.py`: `BatchNorm`, `LayerNorm`, `GroupNorm`, `RMSNorm`",
        ),
        Row(
            (_layers.PReLU,),
            {"alpha": Start("0.01", lambda place: keras.initializers.Constant(0.01))},
            "`activation.py`: `PReLU`",
        ),
    )


flax: LayerRecipe = LayerRecipe(
    "flax",
    table=_flax,
    kind="any model",
    sources=f"Flax {FLAX}, by its code: the defaults of `flax.linen`",
    where="flax.linen",
)


def glorot_of_keras(weight: ModelWeight) -> InitializerLike:
    """Return Glorot's uniform distribution by the fans that Keras takes for a kernel.

    Keras takes the fans of the shape, even for depthwise and transposed kernels. The exception is
    `EinsumDense`, which gives its initializer the axes since Keras 3.15.
    """
    if weight.axes is None:
        return "initx.glorot_uniform"
    inputs, units = default_axes(len(weight.shape))
    takes_axes = "input_axes" in inspect.signature(keras.initializers.VarianceScaling).parameters
    if isinstance(weight.layer, _layers.EinsumDense) and takes_axes:
        inputs, units = weight.axes
    if fans(weight.shape, inputs, units) == weight.fans:
        return "initx.glorot_uniform"
    return VarianceScaling(
        1.0, "fan_avg", "uniform", input_axes=list(inputs), output_axes=list(units)
    )


# Arguments that are not called like the weight that they are for.
_OTHER_ARGUMENTS = {
    "kernel": "depthwise_initializer",  # of a depthwise convolution
    "reverse_embeddings": "embeddings_initializer",
}


def _default_of_keras(weight: ModelWeight) -> InitializerLike | None:
    """Return the initializer that a layer of Keras uses for a weight by default."""
    of_keras = next(cls for cls in type(weight.layer).__mro__ if is_keras_class(cls))
    parameters = inspect.signature(vars(of_keras)["__init__"]).parameters
    forget = parameters.get("unit_forget_bias")
    if weight.name == "bias" and forget is not None and forget.default:
        return LSTMForgetBias()
    for name in (argument_name(weight.name), _OTHER_ARGUMENTS.get(weight.name, "")):
        if name in parameters:
            default = parameters[name].default
            return glorot_of_keras(weight) if default == "glorot_uniform" else default
    return None


def _keras() -> Sequence[Row]:
    """Return rules that start each layer as Keras starts it if you pass no initializers.

    The recipe reads the default of each argument of the installed Keras, such as
    `kernel_initializer`. With `unit_forget_bias` the forget gates get a 1. The fans are those that
    Keras takes, which are wrong for depthwise and transposed kernels. Each weight gets the
    distribution that Keras draws from, not the values that a seed of Keras gives.

    Layers of your own keep their values. If a layer has no argument for a weight, the layer
    initializes it.

    Example:
        >>> from keras_initx import recipes
        >>> layer = keras.layers.Dense(8, kernel_initializer="he_normal")
        >>> recipes.keras(keras.Sequential([keras.Input((4,)), layer]))
        dense/kernel: initx.glorot_uniform
        dense/bias: zeros

    Reference:
        The constructors of the installed Keras.
    """
    return ()


class _DefaultsOfKeras(LayerRecipe):
    """A recipe that reads the defaults of the arguments of layers and has no table."""

    __doc__ = Documentation(__doc__)

    def is_left(self, weight: ModelWeight) -> bool:
        return not is_keras_class(type(weight.layer))

    def reader(self) -> Callable[[ModelWeight], InitializerLike | None]:
        return _default_of_keras


# Not `keras`, which would hide the package in this file.
of_keras: LayerRecipe = _DefaultsOfKeras(
    "keras",
    table=_keras,
    kind="any model",
    sources="the installed Keras, by the arguments of its layers",
    where="keras.layers",
)
