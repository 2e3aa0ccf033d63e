"""The table of settings: what the arguments of layers mean, in words that both frameworks share.

A *kind* is what a layer does, such as "dropout". It has the classes of both frameworks, and a
`Setting` for each argument that decides what a layer computes:

    Setting("momentum", TRAINING, module=Source("momentum", complement), layer="momentum")

`nn.BatchNorm2d(momentum=0.1)` and `BatchNormalization(momentum=0.9)` both have momentum 0.9. Words
are the arguments of Keras, if it has the argument. Each other argument is in `unread`, with the
reason why it needs no comparison. So every argument of a constructor is in the table.

A setting has a scope:

- *any*: it changes outputs, maybe only for another batch, such as the largest value of a ReLU.
- *every batch*: it changes outputs of every batch, so this batch has shown how much: an epsilon.
- *training*: it changes training alone, such as a rate of dropout.
- *one framework*: the other framework has nothing like it. It is reported, and is no difference.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, Literal, NamedTuple, TypeAlias

Scope: TypeAlias = Literal["any", "every batch", "training", "one framework"]
ANY: Scope = "any"
EVERY_BATCH: Scope = "every batch"
TRAINING: Scope = "training"
ONE_FRAMEWORK: Scope = "one framework"

# The value of a setting that nothing tells.
UNKNOWN = "not known"
# The values of settings that depend on the input of a layer, until it is compared.
EACH_CHANNEL = "each channel"
WHOLE_CHANNELS = "whole channels"
SINGLE_VALUES = "single values"


class Source(NamedTuple):
    """How one side has a setting.

    Attributes:
        argument: The argument of the constructor.
        convert: Converts its value to the value of the setting.
    """

    argument: str
    convert: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True)
class Setting:
    """A setting of a kind of layers.

    Attributes:
        word: Its name on both sides.
        scope: What it changes.
        module: Where torch has it. `None` if torch has no such argument.
        layer: Where Keras has it. `None` if Keras has no such argument.
        neutral: Its value on a side, or in a version, that has no such argument; not known if both
            sides must have it.
        effect: For one framework: what it does there.
    """

    word: str
    scope: Scope
    module: Source | str | None
    layer: Source | str | None
    neutral: Any = UNKNOWN
    effect: str = ""

    def find_source(self, framework: str) -> Source | None:
        """Find where a framework has it, `None` if it has no such argument."""
        source = self.module if framework == "torch" else self.layer
        return Source(source) if isinstance(source, str) else source


@dataclass(frozen=True)
class Kind:
    """What a group of classes does.

    Attributes:
        name: Its name.
        modules: The classes of torch.
        layers: The classes of Keras, with those of operations.
        settings: Its settings.
        constants: Dict from classes to the settings that they have without an argument.
        unread: Dict from arguments that need no comparison to the reasons.
        functions: The functions of torch that do the same, each with the class that it stands for.
    """

    name: str
    modules: Sequence[str]
    layers: Sequence[str]
    settings: Sequence[Setting] = ()
    constants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)

    def read_argument(self, framework: str, argument: str) -> bool:
        """Say whether a setting is read from an argument."""
        sources = [setting.find_source(framework) for setting in self.settings]
        return any(source is not None and source.argument == argument for source in sources)


# Reasons why an argument needs no comparison.
_BY_SHAPE = "the shapes of weights or outputs show it"
_BY_VALUE = "weights or outputs show it for every batch"
_SPEED = "it decides speed or memory alone"
_START = "it decides the initial weights alone"
_LAYOUT = "axes are compared as they lie"
_READ_ALONG = "it is read with another setting"

# Arguments that many classes have.
SHARED_UNREAD: Mapping[str, str] = {
    "activity_regularizer": "the losses of the first step show it",
    "autocast": "the dtypes of outputs show it",
    "data_format": _LAYOUT,
    "device": "weights are compared wherever they are",
    "dtype": "the dtypes of outputs show it",
    "inplace": _SPEED,
    "kwargs": "they are arguments of all layers",
    "name": "it computes nothing",
    "seed": "numbers differ between the frameworks anyway",
    "trainable": "weights are compared: trained or frozen",
    "*_initializer": _START,
}
# Arguments that become words of their own in each class that has them, with `None` as neutral.
SHARED_SETTINGS: Mapping[str, Scope] = {"*_constraint": TRAINING, "*_regularizer": TRAINING}
# A function that Keras applies after a layer is compared as an activation of its own.
ACTIVATION = "activation"

# Numbers of repeated arguments: `Conv2d(3)` has a window of (3, 3).
_WINDOW = ("kernel_size", "pool_size", "strides", "padding", "dilation_rate", "output_padding")


def is_window_word(word: str) -> bool:
    """Say whether a setting has a value for each axis of a window."""
    return word in _WINDOW


def complement(share: float | None) -> Any:
    """Convert a momentum: in torch the share of the new values, in Keras that of the former."""
    return "of all batches" if share is None else round(1 - share, 12)


def is_present(value: Any) -> bool:
    """Say whether a parameter of a module is there: `bias=False` makes it `None`."""
    return value is not None and value is not False


def _count_last_axes(shape: Any) -> list[int]:
    # The shape of the axes that torch normalizes: (4, 8) are the last two.
    return list(range(-len(shape), 0))


def _choose_epsilon(epsilon: float | None) -> float:
    # torch takes the spacing of the dtype at 1, which is that of float32 here.
    return 2.0**-23 if epsilon is None else epsilon


def _reverse_pads(padding: Any) -> Any:
    """Convert the padding of a padding module: torch begins with the last axis, in one list."""
    if isinstance(padding, int):
        return padding
    pairs = [list(padding[index : index + 2]) for index in range(0, len(padding), 2)]
    return pairs[::-1]


def _choose_interpolation(mode: str) -> str:
    names = {"linear": "bilinear", "trilinear": "bilinear", "nearest-exact": "nearest"}
    return names.get(mode, mode)


def _omit_default_axes(axes: Any) -> Any:
    # The axis after the batch, as torch has it.
    return None if axes is None or list(axes) == [1] else list(axes)


def _find_gelu(approximate: Any) -> str:
    return "by tanh" if approximate in (True, "tanh") else "exact"


def _find_softmax_axis(axis: int | None) -> Any:
    return axis if axis is not None else "by rank"


def _make_ranks(name: str) -> list[str]:
    # "Conv{}d" -> Conv1d, Conv2d, Conv3d
    return [name.format(rank) for rank in (1, 2, 3)]


def _make_lazy(name: str) -> list[str]:
    return [*_make_ranks(name), *_make_ranks(f"Lazy{name}")]


_USE_BIAS = Setting("use_bias", TRAINING, Source("bias", is_present), "use_bias", True)
_AXES_OF_WINDOW = (
    Setting("strides", ANY, "stride", "strides", 1),
    Setting("padding", ANY, "padding", "padding", 0),
)
_CEILING = Setting("ceil_mode", ANY, "ceil_mode", None, neutral=False)
_POOL_SIZE = Setting("pool_size", ANY, "kernel_size", "pool_size")
_EPSILON = Setting("epsilon", EVERY_BATCH, "eps", "epsilon")
_CENTER = Setting("center", TRAINING, Source("bias", is_present), "center", True)
_CHANNEL_AXIS = Setting("axis", ANY, None, "axis", neutral=1)
_RATE = Setting("rate", TRAINING, "p", "rate")

_RECURRENT_SETTINGS = (
    _USE_BIAS,
    # Dropout between the layers of a module is compared as a dropout of its own.
    Setting("dropout", TRAINING, None, "dropout", 0.0),
    Setting("recurrent_dropout", TRAINING, None, "recurrent_dropout", 0.0),
    Setting("stateful", ANY, None, "stateful", neutral=False),
    Setting("go_backwards", ANY, None, "go_backwards", neutral=False),
    Setting("directions", ANY, Source("bidirectional", lambda value: 2 if value else 1), None, 1),
    Setting("merge_mode", ANY, None, "merge_mode", "concat"),
)
_RECURRENT_UNREAD = {
    "args": "they are arguments of all recurrent modules",
    "batch_first": _LAYOUT,
    "dropout": "compared as a dropout of its own, or read",
    "hidden_size": _BY_SHAPE,
    "input_size": _BY_SHAPE,
    "mode": "its class has it",
    "num_chunks": "its class has it",
    "num_layers": "each layer is compared by itself",
    "proj_size": _BY_SHAPE,
    "return_sequences": _BY_SHAPE,
    "return_state": _BY_SHAPE,
    "unit_forget_bias": _START,
    "units": _BY_SHAPE,
    "unroll": _SPEED,
    "use_cudnn": _SPEED,
    "zero_output_for_mask": _BY_VALUE,
}
_TANH, _SIGMOID = {"activation": "tanh"}, {"recurrent_activation": "sigmoid"}
_CONVOLUTION_UNREAD = {
    "depth_multiplier": _BY_SHAPE,
    "filters": _BY_SHAPE,
    "in_channels": _BY_SHAPE,
    "out_channels": _BY_SHAPE,
}
_KERNEL_SIZE = Setting("kernel_size", ANY, "kernel_size", "kernel_size")
_DILATION = Setting("dilation_rate", ANY, "dilation", "dilation_rate", 1)
_PADDING_MODE = Setting("padding_mode", ANY, "padding_mode", None, "zeros")

KINDS: Sequence[Kind] = (
    Kind(
        "dense",
        ["Linear", "LazyLinear"],
        ["Dense", "EinsumDense"],
        [_USE_BIAS, Setting("use_bias", TRAINING, None, Source("bias_axes", is_present), True)],
        unread={
            "equation": _BY_VALUE,
            "gptq_unpacked_column_size": _SPEED,
            "in_features": _BY_SHAPE,
            "lora_alpha": _BY_VALUE,
            "lora_rank": _BY_SHAPE,
            "out_features": _BY_SHAPE,
            "output_shape": _BY_SHAPE,
            "quantization_config": "the dtypes of weights show it",
            "units": _BY_SHAPE,
        },
    ),
    Kind(
        "convolution",
        _make_lazy("Conv{}d"),
        [*_make_ranks("Conv{}D"), "DepthwiseConv1D", "DepthwiseConv2D"],
        [
            _KERNEL_SIZE,
            *_AXES_OF_WINDOW,
            _DILATION,
            _PADDING_MODE,
            _USE_BIAS,
            Setting("groups", ANY, "groups", "groups", 1),
        ],
        constants={
            "DepthwiseConv1D": {"groups": EACH_CHANNEL},
            "DepthwiseConv2D": {"groups": EACH_CHANNEL},
        },
        unread=_CONVOLUTION_UNREAD,
    ),
    Kind(
        "transposed convolution",
        _make_lazy("ConvTranspose{}d"),
        _make_ranks("Conv{}DTranspose"),
        [
            _KERNEL_SIZE,
            *_AXES_OF_WINDOW,
            _DILATION,
            _USE_BIAS,
            Setting("output_padding", ANY, "output_padding", "output_padding"),
            Setting("groups", ANY, "groups", None, 1),
        ],
        unread={**_CONVOLUTION_UNREAD, "padding_mode": "torch has zeros alone"},
    ),
    Kind(
        "max pooling",
        _make_ranks("MaxPool{}d"),
        [*_make_ranks("MaxPooling{}D"), "MaxPool"],
        [
            _POOL_SIZE,
            *_AXES_OF_WINDOW,
            Setting("dilation_rate", ANY, "dilation", None, 1),
            _CEILING,
        ],
        unread={"return_indices": _BY_SHAPE},
        functions={f"max_pool{rank}d": f"MaxPool{rank}d" for rank in (1, 2, 3)},
    ),
    Kind(
        "average pooling",
        _make_ranks("AvgPool{}d"),
        [*_make_ranks("AveragePooling{}D"), "AveragePool"],
        [
            _POOL_SIZE,
            *_AXES_OF_WINDOW,
            _CEILING,
            Setting("count_include_pad", ANY, "count_include_pad", None, neutral=False),
            Setting("divisor_override", ANY, "divisor_override", None, neutral=None),
        ],
        functions={f"avg_pool{rank}d": f"AvgPool{rank}d" for rank in (1, 2, 3)},
    ),
    Kind(
        "adaptive average pooling",
        _make_ranks("AdaptiveAvgPool{}d"),
        [
            *_make_ranks("GlobalAveragePooling{}D"),
            *_make_ranks("AdaptiveAveragePooling{}D"),
            "AdaptiveAveragePool",
        ],
        unread={"keepdims": _BY_SHAPE, "output_size": _BY_SHAPE},
    ),
    Kind(
        "adaptive max pooling",
        _make_ranks("AdaptiveMaxPool{}d"),
        [
            *_make_ranks("GlobalMaxPooling{}D"),
            *_make_ranks("AdaptiveMaxPooling{}D"),
            "AdaptiveMaxPool",
        ],
        unread={"keepdims": _BY_SHAPE, "output_size": _BY_SHAPE, "return_indices": _BY_SHAPE},
    ),
    Kind(
        "dropout",
        ["Dropout", *_make_ranks("Dropout{}d")],
        ["Dropout", *_make_ranks("SpatialDropout{}D")],
        [_RATE, Setting("noise_shape", TRAINING, None, "noise_shape", SINGLE_VALUES)],
        constants={
            name: {"noise_shape": WHOLE_CHANNELS}
            for name in (*_make_ranks("Dropout{}d"), *_make_ranks("SpatialDropout{}D"))
        },
        functions={
            "dropout": "Dropout",
            **{f"dropout{rank}d": f"Dropout{rank}d" for rank in (1, 2, 3)},
        },
    ),
    Kind(
        "alpha dropout",
        ["AlphaDropout", "FeatureAlphaDropout"],
        ["AlphaDropout"],
        [_RATE, Setting("noise_shape", TRAINING, None, "noise_shape", SINGLE_VALUES)],
        constants={"FeatureAlphaDropout": {"noise_shape": WHOLE_CHANNELS}},
        functions={
            "alpha_dropout": "AlphaDropout",
            "feature_alpha_dropout": "FeatureAlphaDropout",
        },
    ),
    Kind("noise", [], ["GaussianNoise"], [Setting("stddev", TRAINING, None, "stddev", 0.0)]),
    Kind("Gaussian dropout", [], ["GaussianDropout"], [_RATE]),
    Kind(
        "penalty",
        [],
        ["ActivityRegularization"],
        [Setting("l1", TRAINING, None, "l1", 0.0), Setting("l2", TRAINING, None, "l2", 0.0)],
    ),
    Kind(
        "mask",
        [],
        ["Masking"],
        [Setting("mask_value", ANY, None, "mask_value")],
    ),
    Kind(
        "batch normalization",
        [*_make_lazy("BatchNorm{}d"), "SyncBatchNorm"],
        ["BatchNormalization"],
        [
            _EPSILON,
            Setting("momentum", TRAINING, Source("momentum", complement), "momentum"),
            _CENTER,
            Setting("scale", TRAINING, "affine", "scale", neutral=True),
            Setting("moving_statistics", ANY, "track_running_stats", None, neutral=True),
            _CHANNEL_AXIS,
            Setting("renorm", TRAINING, None, "renorm", neutral=False),
        ],
        unread={
            "num_features": _BY_SHAPE,
            "process_group": _SPEED,
            "renorm_clipping": "it acts with `renorm` alone",
            "renorm_momentum": "it acts with `renorm` alone",
            "synchronized": "on one device it changes nothing",
        },
    ),
    Kind(
        "group normalization",
        ["GroupNorm", *_make_lazy("InstanceNorm{}d")],
        ["GroupNormalization"],
        [
            Setting("groups", ANY, "num_groups", "groups"),
            _EPSILON,
            _CENTER,
            Setting("scale", TRAINING, "affine", "scale", neutral=True),
            Setting("moving_statistics", ANY, "track_running_stats", None, neutral=False),
            _CHANNEL_AXIS,
        ],
        constants={name: {"groups": EACH_CHANNEL} for name in _make_lazy("InstanceNorm{}d")},
        unread={
            "momentum": "it acts with `track_running_stats` alone",
            "num_channels": _BY_SHAPE,
            "num_features": _BY_SHAPE,
        },
    ),
    Kind(
        "layer normalization",
        ["LayerNorm"],
        ["LayerNormalization"],
        [
            _EPSILON,
            _CENTER,
            Setting("scale", TRAINING, "elementwise_affine", "scale", neutral=True),
            Setting("axis", ANY, Source("normalized_shape", _count_last_axes), "axis"),
            Setting("rms_scaling", ANY, None, "rms_scaling", neutral=False),
        ],
    ),
    Kind(
        "RMS normalization",
        ["RMSNorm"],
        ["RMSNormalization"],
        [
            Setting("epsilon", EVERY_BATCH, Source("eps", _choose_epsilon), "epsilon"),
            Setting("scale", TRAINING, "elementwise_affine", None, neutral=True),
            Setting("axis", ANY, Source("normalized_shape", _count_last_axes), "axis"),
        ],
    ),
    Kind(
        "embedding",
        ["Embedding"],
        ["Embedding", "ReversibleEmbedding"],
        [
            Setting(
                "padding_idx",
                ONE_FRAMEWORK,
                "padding_idx",
                None,
                neutral=None,
                effect="torch never trains this row, Keras does",
            ),
            Setting(
                "mask_zero",
                ONE_FRAMEWORK,
                None,
                "mask_zero",
                neutral=False,
                effect="Keras masks 0 in later layers and in the loss, torch does not",
            ),
            Setting("max_norm", TRAINING, "max_norm", None, neutral=None),
            Setting("scale_grad_by_freq", TRAINING, "scale_grad_by_freq", None, neutral=False),
            Setting("logit_soft_cap", ANY, None, "logit_soft_cap", neutral=None),
        ],
        unread={
            "_freeze": "weights are compared: trained or frozen",
            "_weight": _START,
            "embedding_dim": _BY_SHAPE,
            "input_dim": _BY_SHAPE,
            "lora_alpha": _BY_VALUE,
            "lora_rank": _BY_SHAPE,
            "norm_type": "it acts with `max_norm` alone",
            "num_embeddings": _BY_SHAPE,
            "output_dim": _BY_SHAPE,
            "quantization_config": "the dtypes of weights show it",
            "reverse_dtype": "the dtypes of outputs show it",
            "sparse": _SPEED,
            "tie_weights": _BY_SHAPE,
            "weights": _START,
        },
    ),
    Kind(
        "LSTM",
        ["LSTM", "LSTMCell"],
        ["LSTM", "LSTMCell"],
        [
            *_RECURRENT_SETTINGS,
            Setting("activation", ANY, None, "activation", "tanh"),
            Setting("recurrent_activation", ANY, None, "recurrent_activation", "sigmoid"),
        ],
        unread=_RECURRENT_UNREAD,
    ),
    Kind(
        "GRU",
        ["GRU", "GRUCell"],
        ["GRU", "GRUCell"],
        [
            *_RECURRENT_SETTINGS,
            Setting("activation", ANY, None, "activation", "tanh"),
            Setting("recurrent_activation", ANY, None, "recurrent_activation", "sigmoid"),
            Setting("reset_after", ANY, None, "reset_after", neutral=True),
        ],
        unread=_RECURRENT_UNREAD,
    ),
    Kind(
        "simple RNN",
        ["RNN", "RNNCell"],
        ["SimpleRNN", "SimpleRNNCell"],
        [
            *_RECURRENT_SETTINGS,
            Setting("activation", ANY, "nonlinearity", "activation", "tanh"),
        ],
        unread=_RECURRENT_UNREAD,
    ),
    Kind(
        "attention",
        ["MultiheadAttention"],
        ["MultiHeadAttention", "GroupedQueryAttention"],
        [
            Setting("num_heads", ANY, "num_heads", "num_heads"),
            Setting("num_heads", ANY, None, "num_query_heads"),
            Setting("use_bias", TRAINING, Source("in_proj_bias", is_present), "use_bias", True),
            Setting(
                "attention_axes",
                ANY,
                None,
                Source("attention_axes", _omit_default_axes),
                neutral=None,
            ),
            Setting("sliding_window", ANY, None, "sliding_window", neutral=None),
            Setting("add_zero_attn", ANY, "add_zero_attn", None, neutral=False),
        ],
        unread={
            "add_bias_kv": _BY_SHAPE,
            "batch_first": _LAYOUT,
            "bias": _READ_ALONG,
            "dropout": "compared as a dropout of its own",
            "embed_dim": _BY_SHAPE,
            "flash_attention": _SPEED,
            "head_dim": _BY_SHAPE,
            "kdim": _BY_SHAPE,
            "key_dim": _BY_SHAPE,
            "num_key_value_heads": _BY_SHAPE,
            "output_shape": _BY_SHAPE,
            "use_gate": _BY_SHAPE,
            "value_dim": _BY_SHAPE,
            "vdim": _BY_SHAPE,
        },
    ),
    Kind(
        "upsampling",
        ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"],
        [*_make_ranks("UpSampling{}D"), "Resizing"],
        [
            Setting(
                "interpolation",
                ANY,
                Source("mode", _choose_interpolation),
                "interpolation",
                "nearest",
            ),
            Setting("align_corners", ANY, Source("align_corners", bool), None, neutral=False),
            Setting("antialias", ANY, None, "antialias", neutral=False),
            Setting("crop_to_aspect_ratio", ANY, None, "crop_to_aspect_ratio", neutral=False),
            Setting("pad_to_aspect_ratio", ANY, None, "pad_to_aspect_ratio", neutral=False),
        ],
        unread={
            "fill_mode": "it acts with `pad_to_aspect_ratio` alone",
            "fill_value": "it acts with `pad_to_aspect_ratio` alone",
            "height": _BY_SHAPE,
            "recompute_scale_factor": _BY_VALUE,
            "scale_factor": _BY_SHAPE,
            "size": _BY_SHAPE,
            "width": _BY_SHAPE,
        },
    ),
    Kind(
        "padding",
        [
            *_make_ranks("ZeroPad{}d"),
            *_make_ranks("ConstantPad{}d"),
            *_make_ranks("ReflectionPad{}d"),
            *_make_ranks("ReplicationPad{}d"),
            *_make_ranks("CircularPad{}d"),
        ],
        _make_ranks("ZeroPadding{}D"),
        [
            Setting("pads", ANY, Source("padding", _reverse_pads), "padding"),
            Setting("value", ANY, "value", None, 0),
            Setting("padding_mode", ANY, None, None, "zeros"),
        ],
        constants={
            f"{prefix}Pad{rank}d": {"padding_mode": mode}
            for prefix, mode in (
                ("Reflection", "reflect"),
                ("Replication", "replicate"),
                ("Circular", "circular"),
            )
            for rank in (1, 2, 3)
        },
    ),
    Kind(
        "reshaping",
        ["Flatten", "Unflatten", "Identity"],
        ["Flatten", "Reshape", "Permute", "RepeatVector", "Identity"],
        unread={
            "args": "they do nothing",
            "dim": _BY_SHAPE,
            "dims": _BY_VALUE,
            "end_dim": _BY_SHAPE,
            "n": _BY_SHAPE,
            "start_dim": _BY_SHAPE,
            "target_shape": _BY_SHAPE,
            "unflattened_size": _BY_SHAPE,
        },
    ),
    Kind(
        "trained ReLU",
        ["PReLU"],
        ["PReLU"],
        unread={"init": _START, "num_parameters": _BY_SHAPE, "shared_axes": _BY_SHAPE},
    ),
)


def _make_activation(
    function: str,
    modules: Sequence[str] = (),
    layers: Sequence[str] = (),
    settings: Sequence[Setting] = (),
    functions: Mapping[str, str] | None = None,
    constants: Mapping[str, Mapping[str, Any]] | None = None,
    unread: Mapping[str, str] | None = None,
) -> Kind:
    """Make the kind of the classes that apply a function, by its name in Keras."""
    named = {name: {ACTIVATION: function} for name in (*modules, *layers)}
    for name, values in (constants or {}).items():
        named[name] = {**named[name], **values}
    return Kind(
        ACTIVATION,
        modules,
        layers,
        settings,
        named,
        {"args": "none", **(unread or {})},
        functions or {},
    )


_SLOPE = Setting("negative_slope", ANY, "negative_slope", "negative_slope", 0.0)
_LARGEST = Setting("max_value", ANY, None, "max_value", neutral=None)
_THRESHOLD = Setting("threshold", ANY, None, "threshold", 0.0)
_ALPHA = Setting("alpha", ANY, "alpha", "alpha", 1.0)

# Functions that are applied to each value, or to an axis. Their kind has one name, because a layer
# of one may stand where the other framework has a layer of another.
ACTIVATIONS: Sequence[Kind] = (
    _make_activation(
        "relu",
        ["ReLU", "ReLU6", "LeakyReLU"],
        ["ReLU", "LeakyReLU", "Relu", "Relu6", "LeakyRelu"],
        [_SLOPE, _LARGEST, _THRESHOLD],
        {"relu": "ReLU", "relu_": "ReLU", "relu6": "ReLU6", "leaky_relu": "LeakyReLU"},
        {"ReLU6": {"max_value": 6}, "Relu6": {"max_value": 6}},
    ),
    _make_activation(
        "hard_tanh",
        ["Hardtanh"],
        ["HardTanh"],
        [
            Setting("min_value", ANY, "min_val", None, -1.0),
            Setting("max_value", ANY, "max_val", None, 1.0),
        ],
        {"hardtanh": "Hardtanh"},
        unread={"max_value": "an older name of `max_val`", "min_value": "an older name"},
    ),
    _make_activation("elu", ["ELU"], ["ELU", "Elu"], [_ALPHA], {"elu": "ELU"}),
    _make_activation("celu", ["CELU"], ["Celu"], [_ALPHA], {"celu": "CELU"}),
    _make_activation("selu", ["SELU"], ["Selu"]),
    _make_activation(
        "gelu",
        ["GELU"],
        ["Gelu"],
        [
            Setting(
                "GELU",
                ANY,
                Source("approximate", _find_gelu),
                Source("approximate", _find_gelu),
                "exact",
            )
        ],
        {"gelu": "GELU"},
    ),
    _make_activation(
        "softmax",
        ["Softmax", "Softmax2d"],
        ["Softmax"],
        [Setting("axis", ANY, Source("dim", _find_softmax_axis), "axis", -1)],
        constants={"Softmax2d": {"axis": -3}},
    ),
    _make_activation(
        "log_softmax",
        ["LogSoftmax"],
        ["LogSoftmax"],
        [Setting("axis", ANY, Source("dim", _find_softmax_axis), "axis", -1)],
    ),
    _make_activation("glu", ["GLU"], ["Glu"], [Setting("axis", ANY, "dim", "axis", -1)]),
    _make_activation(
        "softplus",
        ["Softplus"],
        ["Softplus"],
        [Setting("beta", ANY, "beta", None, 1.0)],
        unread={"threshold": "above it, rounding alone differs"},
    ),
    _make_activation(
        "hard_shrink",
        ["Hardshrink"],
        ["HardShrink"],
        [Setting("threshold", ANY, "lambd", "threshold", 0.5)],
    ),
    _make_activation(
        "soft_shrink",
        ["Softshrink"],
        ["SoftShrink"],
        [Setting("threshold", ANY, "lambd", "threshold", 0.5)],
    ),
    _make_activation(
        "threshold",
        ["Threshold"],
        ["Threshold"],
        [
            Setting("threshold", ANY, "threshold", "threshold"),
            Setting("default_value", ANY, "value", "default_value"),
        ],
    ),
    _make_activation("silu", ["SiLU"], ["Silu"]),
    _make_activation("mish", ["Mish"]),
    _make_activation("tanh", ["Tanh"], ["Tanh"]),
    _make_activation("sigmoid", ["Sigmoid"], ["Sigmoid"]),
    _make_activation("hard_sigmoid", ["Hardsigmoid"], ["HardSigmoid"]),
    _make_activation("hard_silu", ["Hardswish"], ["HardSilu"]),
    _make_activation("log_sigmoid", ["LogSigmoid"], ["LogSigmoid"]),
    _make_activation("softsign", ["Softsign"], ["Softsign"]),
    _make_activation("tanh_shrink", ["Tanhshrink"], ["TanhShrink"]),
)

# The settings of functions of `keras.activations`, where they are not the neutral ones.
KERAS_FUNCTIONS: Mapping[str, Mapping[str, Any]] = {
    "leaky_relu": {ACTIVATION: "relu", "negative_slope": 0.2, "max_value": None, "threshold": 0.0},
    "relu6": {ACTIVATION: "relu", "negative_slope": 0.0, "max_value": 6, "threshold": 0.0},
}

# Classes that only call others, which are compared.
READ_THROUGH = {
    "torch": (
        "Container",
        "DataParallel",
        "Module",
        "ModuleDict",
        "ModuleList",
        "ParameterDict",
        "ParameterList",
        "Sequential",
        "Transformer",
        "TransformerDecoder",
        "TransformerDecoderLayer",
        "TransformerEncoder",
        "TransformerEncoderLayer",
    ),
    "keras": (
        "Activation",
        "Bidirectional",
        "InputLayer",
        "Pipeline",
        "RNN",
        "SpectralNormalization",
        "StackedRNNCells",
        "TimeDistributed",
        "Wrapper",
    ),
}
# Modules that Keras has no layer for. Their settings are not known.
WITHOUT_LAYER = (
    "AdaptiveLogSoftmaxWithLoss",
    "Bilinear",
    "ChannelShuffle",
    "CosineSimilarity",
    "CrossMapLRN2d",
    "EmbeddingBag",
    "Fold",
    "FractionalMaxPool*",
    "LPPool*",
    "LocalResponseNorm",
    "MaxUnpool*",
    "PairwiseDistance",
    "PixelShuffle",
    "PixelUnshuffle",
    "RNNBase",
    "RNNCellBase",
    "RReLU",
    "Softmin",
    "Unfold",
    "*Loss",
    "*Loss2d",
)
# Layers that act in training alone.
_AUGMENTATIONS = ("AugMix", "CutMix", "MixUp", "RandAugment", "Random*")


def find_kind(framework: str, class_name: str) -> Kind | None:
    """Find the kind of a class of torch or of Keras, `None` if it is in no row of the table."""
    return _KINDS_BY_CLASS[framework].get(class_name)


def find_settings(kind: str) -> Mapping[str, Setting]:
    """Find the settings of a kind by their words. Those of all activations are together."""
    return _SETTINGS_BY_KIND.get(kind, {})


def make_activation_settings(function: str) -> dict[str, Any]:
    """Make the settings of a function of `keras.activations` with its default arguments."""
    settings: dict[str, Any] = {ACTIVATION: function}
    for kind in ACTIVATIONS:
        if any(constants.get(ACTIVATION) == function for constants in kind.constants.values()):
            settings.update({setting.word: setting.neutral for setting in kind.settings})
    return settings | dict(KERAS_FUNCTIONS.get(function, {}))


def find_function_class(function: str) -> str | None:
    """Find the module of torch that does the same as a function of it."""
    return _CLASSES_BY_FUNCTION.get(function)


def find_reason(kind: Kind | None, argument: str) -> str:
    """Find the reason why an argument is not compared, empty if there is none."""
    if kind is not None and argument in kind.unread:
        return kind.unread[argument]
    for pattern, reason in SHARED_UNREAD.items():
        if fnmatch(argument, pattern):
            return reason
    return ""


def find_shared_scope(argument: str) -> Scope | None:
    """Find the scope of an argument that is a setting in each class that has it."""
    for pattern, scope in SHARED_SETTINGS.items():
        if fnmatch(argument, pattern):
            return scope
    return None


def find_scope_of_layer(class_name: str) -> Scope:
    """Find the scope of the settings of a layer of Keras that torch has no module for."""
    is_augmentation = any(fnmatch(class_name, pattern) for pattern in _AUGMENTATIONS)
    return TRAINING if is_augmentation else ANY


def _index_kinds() -> dict[str, dict[str, Kind]]:
    kinds: dict[str, dict[str, Kind]] = {"torch": {}, "keras": {}}
    for kind in (*KINDS, *ACTIVATIONS):
        kinds["torch"].update(dict.fromkeys(kind.modules, kind))
        kinds["keras"].update(dict.fromkeys(kind.layers, kind))
    return kinds


def _index_settings() -> dict[str, dict[str, Setting]]:
    settings: dict[str, dict[str, Setting]] = {}
    for kind in (*KINDS, *ACTIVATIONS):
        for setting in kind.settings:
            settings.setdefault(kind.name, {}).setdefault(setting.word, setting)
    settings[ACTIVATION][ACTIVATION] = Setting(ACTIVATION, ANY, None, None)
    return settings


_KINDS_BY_CLASS = _index_kinds()
_SETTINGS_BY_KIND = _index_settings()
_CLASSES_BY_FUNCTION = {
    function: class_name
    for kind in (*KINDS, *ACTIVATIONS)
    for function, class_name in kind.functions.items()
}
