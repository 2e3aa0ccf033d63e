"""Mistakes in ports of six architectures: what the report on a port names. And right ports, of which it says nothing.

KERAS_BACKEND=torch PYTHONPATH=.:tests/support python tests/hunt/test_port_architectures.py

prints the record as a table, and `-v` what is said of each mistake.
"""

import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from port_architectures import CHANNELS, report_on_port  # noqa: E402

cross_entropy = torch.nn.functional.cross_entropy


@dataclass
class Mistake:
    """A mistake in a port.

    Attributes:
        port: The architecture.
        label: What is wrong.
        place: The layer that the first sentence should name.
        cause: What the report should say of it.
        found: What is named today: `"cause"`, `"place"` or nothing, `"silent"`.
        options: Those of `report_on_port`.
    """

    port: str
    label: str
    place: str
    cause: str
    found: str = "cause"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.port}, {self.label}"


def here(**settings):
    return {"here": settings}


def trained(**settings):
    return {"here": settings, "with_targets": True}


def there(**settings):
    return {"there": settings}


def planted(plant, **options):
    return {"plant": plant, **options}


def freeze(name):
    def plant(model, module):
        model.get_layer(name).trainable = False

    return plant


def change(path, function):
    """Change the values of a weight."""

    def plant(model, module):
        for weight in model.weights:
            if weight.path == path:
                weight.assign(function(keras.ops.convert_to_numpy(weight)))
                return
        raise ValueError(path)

    return plant


def draw(values):
    return np.random.default_rng(9).normal(size=values.shape) * 0.2


def swap_gates(values):
    first, second, *others = np.split(values, 4, axis=-1)
    return np.concatenate([second, first, *others], axis=-1)


def leave_out_norm(model, module):
    """Write the direction of a normalized weight, without its size."""
    direction = module.positions.parametrizations.weight.original1
    model.get_layer("positions").kernel.assign(direction.detach().numpy().transpose(2, 1, 0))


def smoothed(outputs, y):
    return cross_entropy(outputs, y, label_smoothing=0.1)


def without_padding(outputs, y):
    return cross_entropy(outputs.flatten(0, 1), y.flatten(), ignore_index=0)


def weighted(outputs, y):
    weight = torch.tensor([0.2, 1.0, 1.0, 1.0, 1.0])
    return cross_entropy(outputs.flatten(0, 1), y.flatten(), weight=weight)


def summed(outputs, y):
    return cross_entropy(outputs, y, reduction="sum")


PROBABILITIES = keras.losses.SparseCategoricalCrossentropy()

# What is wrong, the layer to name, the words to say.
_MISTAKES = {
    "mobilenet": [
        ("padding of the stem", "stem", "padding: ", here(stem="same")),
        ("epsilon", "blocks_0_expand_norm", "epsilon: 1e-05 here, 0.001 there", here(epsilon=1e-5)),
        ("momentum", "stem_norm", "momentum: 0.9 here, 0.99 there", trained(momentum=0.9)),
        ("silu for hard silu", "stem_norm", "activation: silu here, hard_silu there", here(activation="silu")),
        ("sigmoid for the gate", "excite_fc2", "activation: sigmoid here, hard_sigmoid there", here(gate="sigmoid")),
        ("silu for the squeeze", "excite_fc1", "activation: silu here, relu there", here(squeeze="silu")),
        ("largest values squeezed", "excite_fc1", "Max", here(pooled="max")),
        ("no shortcut", "blocks_1_expand", "add", here(shortcut=False)),
        ("squeeze before the activation", "excite_fc1", "order", here(excited="before")),
        ("relu6 for relu", "blocks_0", "max_value: 6", here(inner_activation="relu6")),
        ("relu6 for relu, trained", "blocks_0", "max_value: 6", trained(inner_activation="relu6")),
        ("relu for hard silu in the head", "fc1", "activation: relu here, hard_silu there", here(head_activation="relu")),
        ("rate", "drop", "rate: 0.5 here, 0.2 there", here(rate=0.5)),
        ("rate, trained", "drop", "rate: 0.5 here, 0.2 there", trained(rate=0.5)),
        ("no dropout", "drop", "only there: Dropout of 0.2", trained(rate=0.0)),
        ("frozen stem", "stem", "frozen here, trained there", planted(freeze("stem"), with_targets=True)),
        ("frozen norm", "stem_norm", "frozen here, trained there", planted(freeze("stem_norm"), with_targets=True)),
        ("rescaled images", "stem", "Rescaling", here(rescale=1 / 255)),
        (
            "kernel with rows for columns",
            "blocks_1_depthwise/kernel",
            "swapped",
            planted(change("blocks_1_depthwise/kernel", lambda values: values.swapaxes(0, 1))),
        ),
        (
            "statistics left out",
            "blocks_0_project_norm/moving_mean",
            "zeros",
            planted(change("blocks_0_project_norm/moving_mean", np.zeros_like)),
        ),
        ("layer left out", "blocks_1_project/kernel", "other values", planted(change("blocks_1_project/kernel", draw))),
        ("label smoothing there", "loss", "label_smoothing", {"loss_there": smoothed, "with_targets": True}),
        ("logits for probabilities", "loss", "from_logits", {"loss": PROBABILITIES, "with_targets": True}),
        ("sum for mean", "loss", "1/8 of that there", {"loss_there": summed, "with_targets": True}),
    ],
    "modernbert": [
        ("epsilon", "norm", "epsilon: 0.001 here, 1e-05 there", here(epsilon=1e-3)),
        ("GELU by tanh", "layers_0_mlp_wo", "GELU: by tanh here, exact there", here(gelu_by_tanh=True)),
        ("GELU by tanh in the head", "head_norm", "GELU: by tanh here, exact there", here(head_gelu_by_tanh=True)),
        ("no scale", "layers_0_attn", "scale", here(attention={"scale": 1.0})),
        ("scale by the width", "layers_0_attn", "scale", here(attention={"scale": 0.25})),
        ("query for key", "layers_0_attn", "query", here(attention={"order": (1, 0, 2)})),
        ("neighbours turned", "layers_0_attn", "turn", here(attention={"pairs": "neighbours"})),
        ("turned back", "layers_0_attn", "turn", here(attention={"sign": 1})),
        ("keys shifted", "layers_0_attn", "shift", here(attention={"key_shift": 1})),
        ("keys not turned", "layers_0_attn", "turn", here(attention={"rotates_key": False})),
        ("one base for both", "layers_1_attn", "base", here(thetas=(160000.0, 160000.0))),
        ("window of 3", "layers_1_attn", "window", here(windows=(100, 3))),
        ("no window", "layers_1_attn", "window", here(windows=(100, 100))),
        ("no mask", "layers_0_attn", "mask", here(attention={"uses_mask": False})),
        ("softmax of queries", "layers_0_attn", "axis", here(attention={"softmax_axis": -2})),
        ("heads first", "layers_0_attn", "heads", here(attention={"by_heads": False})),
        ("gate for input", "layers_0_mlp_wo", "swapped", here(gate="first")),
        ("norm behind", "layers_1_attn", "order", here(norm_first=False)),
        ("norm before the first", "layers_0_attn_norm", "not loaded", here(normalizes_first=True)),
        ("no last norm", "head", "final_norm", here(final_norm=False)),
        ("no shortcut", "layers_1_attn_norm", "add", here(shortcut=False)),
        ("not tied", "decoder", "one parameter there", here(tied=False)),
        ("not tied, trained", "decoder", "one parameter there", trained(tied=False)),
        ("rate of words", "drop", "rate: 0.2 here, 0.1 there", trained(rate=0.2)),
        ("rate of attention", "attn/drop", "rate: 0.2 here, 0.1 there", trained(attention_rate=0.2)),
        ("rate of attention of 0", "attn/drop", "rate: 0 here, 0.1 there", here(attention_rate=0.0)),
        ("rate between", "mlp", "rate: 0.2 here, 0.1 there", trained(mlp_rate=0.2)),
        ("bias left out", "decoder/bias", "other values", planted(change("decoder/bias", np.zeros_like))),
        (
            "padded words left out of the loss",
            "loss",
            "ignore_index",
            {"loss_there": without_padding, "with_targets": True},
        ),
    ],
    "wav2vec2": [
        ("norm of all channels", "conv0_norm", f"groups: 1 here, {CHANNELS} there", here(groups=1)),
        ("epsilon", "projection_norm", "epsilon: 0.001 here, 1e-05 there", here(epsilon=1e-3)),
        ("rate", "drop", "rate: 0.3 here, 0.1 there", here(rate=0.3)),
        ("rate, trained", "drop", "rate: 0.3 here, 0.1 there", trained(rate=0.3)),
        ("dropout of attention", "layers_0_attention", "dropout: 0 here, 0.1 there", trained(attention_rate=0.0)),
        ("heads", "layers_0_attention", "num_heads: 2 here, 4 there", here(num_heads=2)),
        ("GELU by tanh", "conv1", "GELU: by tanh here, exact there", here(gelu_by_tanh=True)),
        ("relu for GELU", "layers_0_inner", "activation: relu here, gelu there", here(layer_gelu="relu")),
        ("norm first", "layers_0_attention", "order", here(norm_first=True)),
        ("no mask", "layers_0_attention", "mask", here(uses_mask=False)),
        ("pads behind", "positions", "padding: ", here(pads=(1, 2))),
        ("no positions", "norm", "positions", here(positions="forgotten")),
        ("positions after the norm", "norm", "order", here(normalized="before")),
        ("trained, and frozen there", "conv0", "trained here, frozen there", {**trained(), **there(freezes=True)}),
        ("rate of the projection", "projection", "only there: Dropout", trained(projection_rate=0.0)),
        ("constraint", "projection", "kernel_constraint", trained(constraint=keras.constraints.MaxNorm(50.0))),
        ("first layer twice", "layers_0", "layers.1", here(uses_first_twice=True)),
        ("direction without size", "positions/kernel", "other values", planted(leave_out_norm)),
        (
            "kernel turned around",
            "conv1/kernel",
            "reversed",
            planted(change("conv1/kernel", lambda values: values[::-1])),
        ),
        (
            "output of attention transposed",
            "layers_1_output/bias",
            "other values",
            planted(change("layers_1_output/bias", np.zeros_like)),
        ),
    ],
    "unet": [
        ("zeros at edges", "down1_conv1", "padding_mode", here(edges="constant")),
        ("edges twice", "down1_conv1", "padding_mode", here(edges="symmetric")),
        ("epsilon", "down1_norm1", "epsilon: 0.001 here, 1e-05 there", here(epsilon=1e-3)),
        ("momentum", "norm1", "momentum: 0.99 here, 0.9 there", trained(momentum=0.99)),
        ("slope", "leaky_re_lu", "negative_slope: 0.3 here, 0.1 there", here(slope=0.3)),
        ("single values dropped", "drop", "single values", trained(dropped="values")),
        ("rate", "drop", "rate: 0.5 here, 0.1 there", here(rate=0.5)),
        ("dilation", "down1_conv2", "dilation_rate: 1 here, 2 there", here(dilation=1)),
        ("groups", "down1_norm2", "groups: 1 here, 2 there", here(groups=1)),
        ("epsilon of groups", "down1_norm2", "epsilon: 0.001 here, 1e-05 there", here(group_epsilon=1e-3)),
        ("mean for largest", "pool", "AveragePooling2D here, MaxPool2d there", here(pooling="mean")),
        ("pads of the pooling", "pool", "padding", here(pool_padding="same")),
        ("one window more there", "pool", "ceil_mode", there(ceil_mode=True)),
        ("pads counted there", "mean", "count_include_pad", there(count_include_pad=True)),
        ("pads counted here", "mean", "count_include_pad", here(mean_pooling="with pads")),
        ("pads at one end", "mean", "padding", here(mean_pooling="same")),
        ("linear for nearest", "up2", "interpolation: bilinear here, nearest there", here(interpolation="bilinear")),
        (
            "corners",
            "up2",
            "align_corners",
            {**here(interpolation="bilinear"), **there(up="bilinear", align_corners=True)},
        ),
        ("skip behind", "merge1_conv1", "order", here(order="skip last")),
        ("no skip", "merge2_conv1", "zeros", here(skip="forgotten")),
        ("softmax at the end", "out", "activation: softmax here", here(out_activation="softmax")),
        (
            "transposed kernel turned around",
            "up1/kernel",
            "reversed",
            planted(change("up1/kernel", lambda values: values[::-1, ::-1])),
        ),
        (
            "transposed kernel with other axes",
            "up1/kernel",
            "swapped",
            planted(change("up1/kernel", lambda values: values.swapaxes(2, 3))),
        ),
        (
            "statistics left out",
            "bottom_norm1/moving_variance",
            "other values",
            planted(change("bottom_norm1/moving_variance", np.ones_like)),
        ),
    ],
    "tagger": [
        ("rate", "drop", "rate: 0.5 here, 0.3 there", here(rate=0.5)),
        ("rate, trained", "drop", "rate: 0.5 here, 0.3 there", trained(rate=0.5)),
        ("no dropout of words", "drop", "only there: Dropout of 0.3", trained(rate=0.0)),
        ("no dropout between", "lstm", "dropout", trained(between=0.0)),
        ("dropout between", "lstm", "0.5 here, 0.3 there", here(between=0.5)),
        ("recurrent dropout", "lstm", "recurrent_dropout: 0.2 here, 0 there", here(recurrent_dropout=0.2)),
        ("masked words", "words", "mask", here(mask_zero=True)),
        ("masked words, trained", "words", "mask", trained(mask_zero=True)),
        ("backward first", "lstm", "order", here(backward="first")),
        ("backward not turned", "lstm", "go_backwards", here(reverses_back=False)),
        (
            "hard sigmoid",
            "lstm",
            "recurrent_activation: hard_sigmoid here, sigmoid there",
            here(recurrent_activation="hard_sigmoid"),
        ),
        ("relu for tanh", "lstm", "activation: relu here, tanh there", here(activation="relu")),
        ("reset before", "gru", "reset_after: False here, True there", here(reset_after=False)),
        ("relu in the GRU", "gru", "activation: relu here, tanh there", here(gru_activation="relu")),
        ("GRU backwards", "gru", "go_backwards: True here, False there", here(go_backwards=True)),
        ("epsilon", "norm", "epsilon: 0.001 here, 1e-05 there", here(epsilon=1e-3)),
        ("relu before the head", "gru", "activation: relu here, tanh there", here(head_activation="relu")),
        ("no norm", "gru", "norm", here(normalized="never")),
        ("frozen words", "words", "frozen here, trained there", trained(freezes=True)),
        ("trained words", "words", "trained here, frozen there", {**trained(), **there(freezes=True)}),
        ("frozen words, not trained", "words", "frozen here, trained there", here(freezes=True)),
        ("constraint", "words", "embeddings_constraint", trained(constraint=keras.constraints.NonNeg())),
        ("penalty", "gru", "kernel_regularizer", trained(regularizer="l2")),
        ("largest norm there", "words", "max_norm", there(max_norm=100.0)),
        (
            "gates swapped",
            "lstm_0",
            "gate",
            planted(change("lstm_0/forward_cell/lstm_cell/kernel", swap_gates)),
        ),
        ("weights of classes there", "loss", "weight", {"loss_there": weighted, "with_targets": True}),
        ("label 0 left out there", "loss", "ignore_index", {"loss_there": without_padding, "with_targets": True}),
    ],
    "swin": [
        ("no shift", "blocks_1", "shift", here(shift=0)),
        ("shift of 1", "blocks_1", "shift", here(shift=1)),
        ("shifted the other way", "blocks_1", "shift", here(sign=-1)),
        ("not shifted back", "blocks_1", "shift", here(shifts_back=False)),
        ("no mask of shifted windows", "blocks_1/attn", "mask", here(masks=False)),
        ("windows of rows", "blocks_0/attn", "window", here(transposes_windows=False)),
        ("no relative positions", "blocks_0/attn", "relative_position", here(attention={"has_bias": False})),
        ("relative positions turned", "blocks_0/attn", "relative_position", here(attention={"turns_bias": True})),
        ("no scale", "blocks_0/attn", "scale", here(attention={"scale": 1.0})),
        ("key for value", "blocks_0/attn", "key", here(attention={"order": (0, 2, 1)})),
        ("softmax of queries", "blocks_0/attn", "axis", here(attention={"softmax_axis": -2})),
        ("order of merged patches", "merge", "order", here(merge={"order": (0, 2, 1, 3)})),
        ("epsilon of merging", "merge/norm", "epsilon: 0.001 here, 1e-05 there", here(merge={"epsilon": 1e-3})),
        ("largest for mean", "head", "max", here(pooled="max")),
        ("no norm of patches", "blocks_0", "patch_norm", here(patch_norm=False)),
        ("no last norm", "head", "norm", here(final_norm=False)),
        ("epsilon of patches", "patch_norm", "epsilon: 0.001 here, 1e-05 there", here(patch_epsilon=1e-3)),
        ("epsilon of blocks", "blocks_0/norm1", "epsilon: 0.001 here, 1e-05 there", here(epsilon=1e-3)),
        ("GELU by tanh", "blocks_0", "GELU: by tanh here, exact there", here(gelu_by_tanh=True)),
        ("rate", "drop", "rate: 0.3 here, 0.1 there", here(rate=0.3)),
        ("rate of attention, trained", "attn/drop", "rate: 0.3 here, 0.1 there", trained(attention={"rate": 0.3})),
        ("norm behind", "blocks_0/attn", "order", here(norm_first=False)),
        ("no shortcut", "blocks_0", "add", here(shortcut=False)),
        (
            "relative positions not loaded",
            "blocks_1/attn/relative_position_bias_table",
            "other values",
            planted(change("blocks_1/attn/relative_position_bias_table", np.zeros_like)),
        ),
        ("first block twice", "blocks_0", "blocks.1", here(uses_first_twice=True)),
        ("frozen patches", "patches", "frozen here, trained there", planted(freeze("patches"), with_targets=True)),
        ("label smoothing there", "loss", "label_smoothing", {"loss_there": smoothed, "with_targets": True}),
    ],
}
