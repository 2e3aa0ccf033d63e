"""Mistakes in ports of six architectures: what the report on a port names. And right ports, of which it says nothing.

KERAS_BACKEND=torch PYTHONPATH=.:tests/support python tests/hunt/test_port_architectures.py

prints the record as a table, and `-v` what is said of each mistake.
"""

import sys
from collections import Counter
from dataclasses import dataclass, replace
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
        found: What the report names today:

            - `"cause"`: it says the words for what is wrong, in its text,
            - `"place"`: its first sentence names the layer where the mistake shows,
            - `"wrong"`: it says that another thing is wrong,
            - `"silent"`: nothing.
        label: What is wrong.
        place: The layer to name: the first that is compared behind the mistake, or inside of it.
        words: The words that say the cause. Empty if no table of settings can have it: another computation in a call.
        options: Those of `report_on_port`.
        port: The architecture.
    """

    found: str
    label: str
    place: str
    words: str
    options: dict[str, Any]
    port: str = ""


def cause(label, place, words, options):
    return Mistake("cause", label, place, words, options)


def place(label, place, options, should_say=""):
    return Mistake("place", label, place, should_say, options)


def here(**settings):
    return {"here": settings}


def trained(**settings):
    return {"here": settings, "with_targets": True}


def there(**settings):
    return {"there": settings}


def planted(plant):
    return {"plant": plant}


def freeze(name):
    """Freeze a layer of the model, and train."""

    def plant(model, module):
        model.get_layer(name).trainable = False

    return {"plant": plant, "with_targets": True}


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


def without_label_0(outputs, y):
    return cross_entropy(outputs.flatten(0, 1), y.flatten(), ignore_index=0)


def weighted(outputs, y):
    weight = torch.tensor([0.2, 1.0, 1.0, 1.0, 1.0])
    return cross_entropy(outputs.flatten(0, 1), y.flatten(), weight=weight)


def summed(outputs, y):
    return cross_entropy(outputs, y, reduction="sum")


def hard_sigmoid(x):
    return keras.ops.relu6(x + 3) / 6


def hard_swish(x):
    return x * hard_sigmoid(x)


def gelu(x):
    return x * (1 + keras.ops.erf(x / 2**0.5)) / 2


PROBABILITIES = keras.losses.SparseCategoricalCrossentropy()

MISTAKES = {
    "mobilenet": [
        cause("padding of the stem", "stem", "padding: 0 before and 1 after here", here(stem="same")),
        cause("epsilon", "blocks_0_expand_norm", "epsilon: 1e-05 here, 0.001 there", here(epsilon=1e-5)),
        cause("momentum", "stem_norm", "momentum: 0.9 here, 0.99 there", trained(momentum=0.9)),
        cause("silu for hard silu", "stem_norm", "activation: silu here, hard_silu there", here(activation="silu")),
        cause("gate", "excite_fc2", "activation: sigmoid here, hard_sigmoid there", here(gate="sigmoid")),
        cause("activation of the squeeze", "excite_fc1", "activation: silu here, relu there", here(squeeze="silu")),
        place("largest values squeezed", "excite_fc1", here(pooled="max")),
        place("no shortcut", "blocks_1_expand", here(shortcut=False)),
        place("squeezed before the activation", "excite_fc1", here(excited="before")),
        cause("relu6 for relu", "blocks_0", "max_value: 6", here(inner_activation="relu6")),
        cause("relu6 for relu, trained", "blocks_0", "max_value: 6", trained(inner_activation="relu6")),
        cause("activation of the head", "fc1", "activation: relu here, hard_silu there", here(head_activation="relu")),
        cause("rate", "drop", "rate: 0.5 here, 0.2 there", here(rate=0.5)),
        cause("rate, trained", "drop", "rate: 0.5 here, 0.2 there", trained(rate=0.5)),
        cause("no dropout", "drop", "only there: Dropout of 0.2", trained(rate=0.0)),
        cause("frozen stem", "stem", "frozen here, trained there", freeze("stem")),
        cause("frozen norm", "stem_norm", "frozen here, trained there", freeze("stem_norm")),
        place("rescaled images", "stem", here(rescale=1 / 255)),
        cause(
            "rows for columns in a kernel",
            "blocks_1_depthwise/kernel",
            "the same values in another order",
            planted(change("blocks_1_depthwise/kernel", lambda values: values.swapaxes(0, 1))),
        ),
        cause(
            "mean left out",
            "blocks_0_project_norm/moving_mean",
            "all zero",
            planted(change("blocks_0_project_norm/moving_mean", np.zeros_like)),
        ),
        cause(
            "kernel left out",
            "blocks_1_project/kernel",
            "other values",
            planted(change("blocks_1_project/kernel", draw)),
        ),
        cause("label smoothing there", "loss", "label_smoothing", {"loss_there": smoothed, "with_targets": True}),
        cause("logits for probabilities", "loss", "from_logits", {"loss": PROBABILITIES, "with_targets": True}),
        cause("sum there, mean here", "loss", "a sum against a mean", {"loss_there": summed, "with_targets": True}),
    ],
    "modernbert": [
        cause("epsilon", "norm", "epsilon: 0.001 here, 1e-05 there", here(epsilon=1e-3)),
        cause("GELU by tanh", "layers_0_mlp_wo", "GELU: by tanh here, exact there", here(gelu_by_tanh=True)),
        cause("GELU in the head", "head_norm", "GELU: by tanh here, exact there", here(head_gelu_by_tanh=True)),
        place("no scale", "layers_0_attn/drop", here(attention={"scale": 1.0})),
        place("scale by the width", "layers_0_attn/drop", here(attention={"scale": 0.25})),
        place("query for key", "layers_0_attn/drop", here(attention={"order": (1, 0, 2)})),
        place("neighbours turned", "layers_0_attn/drop", here(attention={"pairs": "neighbours"})),
        place("turned back", "layers_0_attn/drop", here(attention={"sign": 1})),
        place("keys shifted", "layers_0_attn/drop", here(attention={"key_shift": 1})),
        place("keys not turned", "layers_0_attn/drop", here(attention={"rotates_key": False})),
        place("one base of angles", "layers_1_attn/drop", here(thetas=(160000.0, 160000.0))),
        place("window of 3", "layers_1_attn/drop", here(windows=(100, 3))),
        place("no window", "layers_1_attn/drop", here(windows=(100, 100))),
        place("no mask", "layers_0_attn/drop", here(attention={"uses_mask": False})),
        place("softmax of queries", "layers_0_attn/drop", here(attention={"softmax_axis": -2})),
        place("heads first", "layers_0_attn/drop", here(attention={"by_heads": False})),
        place("gate for input", "layers_0_mlp_wo", here(gate="first")),
        place("norm behind", "layers_1_attn", here(norm_first=False)),
        cause("norm before the first", "layers_0_attn_norm", "no array", here(normalizes_first=True)),
        place("no last norm", "head", here(final_norm=False)),
        place("no shortcut", "layers_1_attn_norm", here(shortcut=False)),
        cause("not tied", "decoder", "one parameter there and 2 weights here", here(tied=False)),
        cause("not tied, trained", "decoder", "one parameter there and 2 weights here", trained(tied=False)),
        cause("rate of words", "drop", "rate: 0.2 here, 0.1 there", trained(rate=0.2)),
        cause("rate of attention", "attn/drop", "rate: 0.2 here, 0.1 there", trained(attention_rate=0.2)),
        cause("no dropout of attention", "attn/drop", "rate: 0 here, 0.1 there", here(attention_rate=0.0)),
        cause("rate between", "mlp", "rate: 0.2 here, 0.1 there", trained(mlp_rate=0.2)),
        cause("bias left out", "decoder/bias", "all zero", planted(change("decoder/bias", np.zeros_like))),
        cause("label 0 left out there", "loss", "ignore_class", {"loss_there": without_label_0, "with_targets": True}),
    ],
    "wav2vec2": [
        cause("norm of all channels", "conv0_norm", f"groups: 1 here, {CHANNELS} there", here(groups=1)),
        cause("epsilon", "projection_norm", "epsilon: 0.001 here, 1e-05 there", here(epsilon=1e-3)),
        cause("rate", "drop", "rate: 0.3 here, 0.1 there", here(rate=0.3)),
        cause("rate, trained", "drop", "rate: 0.3 here, 0.1 there", trained(rate=0.3)),
        cause("no dropout of attention", "layers_0_attention", "dropout: 0 here, 0.1", trained(attention_rate=0.0)),
        cause("heads", "layers_0_attention", "num_heads: 2 here, 4 there", here(num_heads=2)),
        cause("GELU by tanh", "conv1", "GELU: by tanh here, exact there", here(gelu_by_tanh=True)),
        cause("relu for GELU", "layers_0_inner", "activation: relu here, gelu there", here(layer_gelu="relu")),
        place("norm first", "layers_0_norm", here(norm_first=True)),
        cause("no mask", "layers_0_attention", "mask` is passed there, and not here", here(uses_mask=False)),
        cause("pads behind", "norm", "padding: 1 before and 2 after here, 2 before and 2", here(pads=(1, 2))),
        place("no positions", "norm", here(positions="forgotten")),
        place("positions behind the norm", "norm", here(normalized="before")),
        cause("frozen there", "conv0", "trained here, frozen there", {**trained(), **there(freezes=True)}),
        cause("no dropout of the projection", "drop", "rate: 0 here, 0.1 there", trained(projection_rate=0.0)),
        cause("constraint", "projection", "kernel_constraint", trained(constraint=keras.constraints.MaxNorm(50.0))),
        place("first layer twice", "head", here(uses_first_twice=True)),
        cause("direction without size", "positions/kernel", "other values", planted(leave_out_norm)),
        cause(
            "kernel turned around",
            "conv1/kernel",
            "the same values in another order",
            planted(change("conv1/kernel", lambda values: values[::-1])),
        ),
        cause(
            "bias left out",
            "layers_1_output/bias",
            "all zero",
            planted(change("layers_1_output/bias", np.zeros_like)),
        ),
    ],
    "unet": [
        cause("zeros at edges", "down1_conv1", "padding_mode: zeros here, reflect there", here(edges="constant")),
        cause("edges twice", "down1_conv1", "padding_mode: symmetric here, reflect", here(edges="symmetric")),
        cause("epsilon", "down1_norm1", "epsilon: 0.001 here, 1e-05 there", here(epsilon=1e-3)),
        cause("momentum", "norm1", "momentum: 0.99 here, 0.9 there", trained(momentum=0.99)),
        cause("slope", "leaky_re_lu", "negative_slope: 0.3 here, 0.1 there", here(slope=0.3)),
        cause("single values dropped", "drop", "single values here, whole channels there", trained(dropped="values")),
        cause("rate", "drop", "rate: 0.5 here, 0.1 there", here(rate=0.5)),
        cause("dilation", "down1_conv2", "dilation_rate: 1 here, 2 there", here(dilation=1)),
        cause("groups", "down1_norm2", "groups: 1 here, 2 there", here(groups=1)),
        cause("epsilon of groups", "down1_norm2", "epsilon: 0.001 here, 1e-05 there", here(group_epsilon=1e-3)),
        cause("mean for largest", "pool", "AveragePooling2D here, MaxPool2d there", here(pooling="mean")),
        cause("pads of the pooling", "pool", "padding: 0 before and 1 after here", here(pool_padding="same")),
        cause("one window more there", "pool", "ceil_mode: False here, True there", there(ceil_mode=True)),
        place("pads counted there", "bottom_conv1", there(count_include_pad=True), should_say="count_include_pad"),
        cause("pads counted", "bottom_conv1", "count_include_pad: True here", here(mean_pooling="with pads")),
        cause("pads at one end", "mean", "padding: 0 before and 1 after here", here(mean_pooling="same")),
        cause("linear for nearest", "up2", "interpolation: bilinear here, nearest", here(interpolation="bilinear")),
        cause(
            "corners",
            "up2",
            "align_corners: False here, True there",
            {**here(interpolation="bilinear"), **there(up="bilinear", align_corners=True)},
        ),
        place("skip behind", "merge1_conv1", here(order="skip last")),
        place("no skip", "merge2_conv1", here(skip="forgotten")),
        cause("softmax at the end", "out", "the activation of out, softmax", here(out_activation="softmax")),
        cause(
            "transposed kernel turned around",
            "up1/kernel",
            "the same values in another order",
            planted(change("up1/kernel", lambda values: values[::-1, ::-1])),
        ),
        cause(
            "inputs for units in a kernel",
            "up1/kernel",
            "the same values in another order",
            planted(change("up1/kernel", lambda values: values.swapaxes(2, 3))),
        ),
        cause(
            "variance left out",
            "bottom_norm1/moving_variance",
            "other values",
            planted(change("bottom_norm1/moving_variance", np.ones_like)),
        ),
    ],
    "tagger": [
        cause("rate", "drop)", "rate: 0.5 here, 0.3 there (dropout and drop)", here(rate=0.5)),
        cause("rate, trained", "drop)", "rate: 0.5 here, 0.3 there (dropout and drop)", trained(rate=0.5)),
        cause("no dropout of words", "drop", "1 Dropout of 0.3 here, 1 Dropout of 0.3 and 1", trained(rate=0.0)),
        cause("no dropout between", "lstm", "and 1 dropout of LSTM of 0.3 there", trained(between=0.0)),
        cause("dropout between", "lstm", "dropout: 0.5 here, 0.3 there", here(between=0.5)),
        cause("recurrent dropout", "lstm", "recurrent_dropout: 0.2 here, 0 there", here(recurrent_dropout=0.2)),
        cause("masked words", "norm", "beginning with norm (mask_zero=True here", here(mask_zero=True)),
        cause("masked words, trained", "norm", "beginning with norm (mask_zero=True here", trained(mask_zero=True)),
        place("backward first", "norm", here(backward="first")),
        place("backward not turned", "norm", here(reverses_back=False)),
        cause(
            "hard sigmoid",
            "lstm",
            "recurrent_activation: hard_sigmoid here, sigmoid there",
            here(recurrent_activation="hard_sigmoid"),
        ),
        cause("relu for tanh", "lstm", "activation: relu here, tanh there", here(activation="relu")),
        cause("reset before", "gru", "make the layer with `reset_after=True`", here(reset_after=False)),
        cause("relu in the GRU", "gru", "activation: relu here, tanh there", here(gru_activation="relu")),
        cause("GRU backwards", "gru", "go_backwards: True here, False there", here(go_backwards=True)),
        cause("epsilon", "norm", "epsilon: 0.001 here, 1e-05 there", here(epsilon=1e-3)),
        cause("relu before the head", "head", "activation: relu here, tanh there", here(head_activation="relu")),
        place("no norm", "gru", here(normalized="never")),
        cause("frozen words", "words", "frozen here, trained there", trained(freezes=True)),
        cause("words frozen there", "words", "trained here, frozen there", {**trained(), **there(freezes=True)}),
        cause("frozen words, not trained", "words", "frozen here, trained there", here(freezes=True)),
        cause("constraint", "words", "embeddings_constraint", trained(constraint=keras.constraints.NonNeg())),
        cause("penalty", "gru", "kernel_regularizer", trained(regularizer="l2")),
        cause("largest norm there", "words", "max_norm: None here, 100.0 there", there(max_norm=100.0)),
        cause(
            "gates swapped",
            "lstm_0/forward_cell",
            "the same values in another order",
            planted(change("lstm_0/forward_cell/lstm_cell/kernel", swap_gates)),
        ),
        cause("weights of classes there", "loss", "weights of classes", {"loss_there": weighted, "with_targets": True}),
        cause("label 0 left out there", "loss", "ignore_class", {"loss_there": without_label_0, "with_targets": True}),
    ],
    "swin": [
        place("no shift", "blocks_1/attn/qkv", here(shift=0)),
        place("shift of 1", "blocks_1/attn/qkv", here(shift=1)),
        place("shifted the other way", "blocks_1/attn/qkv", here(sign=-1)),
        place("not shifted back", "blocks_1/norm2", here(shifts_back=False)),
        place("no mask of shifted windows", "blocks_1/attn/drop", here(masks=False)),
        place("windows of rows", "blocks_0/attn/qkv", here(transposes_windows=False)),
        place("no relative positions", "blocks_0/attn/drop", here(attention={"has_bias": False})),
        place("relative positions turned", "blocks_0/attn/drop", here(attention={"turns_bias": True})),
        place("no scale", "blocks_0/attn/drop", here(attention={"scale": 1.0})),
        place("value for key", "blocks_0/attn/drop", here(attention={"order": (0, 2, 1)})),
        place("softmax of queries", "blocks_0/attn/drop", here(attention={"softmax_axis": -2})),
        place("order of merged patches", "merge/norm", here(merge={"order": (0, 2, 1, 3)})),
        cause("epsilon of merging", "merge/norm", "epsilon: 0.001 here, 1e-05 there", here(merge={"epsilon": 1e-3})),
        place("largest for mean", "head", here(pooled="max")),
        place("no norm of patches", "blocks_0/norm1", here(patch_norm=False)),
        place("no last norm", "head", here(final_norm=False)),
        cause("epsilon of patches", "patch_norm", "epsilon: 0.001 here, 1e-05 there", here(patch_epsilon=1e-3)),
        cause("epsilon of blocks", "blocks_0/norm1", "epsilon: 0.001 here, 1e-05 there", here(epsilon=1e-3)),
        cause("GELU by tanh", "blocks_0", "GELU: by tanh here, exact there", here(gelu_by_tanh=True)),
        cause("rate", "drop", "rate: 0.3 here, 0.1 there", here(rate=0.3)),
        cause("rate of attention", "attn/drop", "rate: 0.3 here, 0.1 there", trained(attention={"rate": 0.3})),
        place("norm behind", "blocks_0/attn/qkv", here(norm_first=False)),
        place("no shortcut", "blocks_1/norm1", here(shortcut=False)),
        cause(
            "relative positions left out",
            "blocks_1/attn/relative_position_bias_table",
            "all zero",
            planted(change("blocks_1/attn/relative_position_bias_table", np.zeros_like)),
        ),
        place("first block twice", "merge/norm", here(uses_first_twice=True)),
        cause("frozen patches", "patches", "frozen here, trained there", freeze("patches")),
        cause("label smoothing there", "loss", "label_smoothing", {"loss_there": smoothed, "with_targets": True}),
    ],
}

# Right ports beside those with the default settings: other sizes, what is off or frozen on both sides, other code.
RIGHT = {
    "mobilenet": [
        ("wider", {**here(width=12), **there(width=12)}),
        ("no dropout in both", {**trained(rate=0.0), **there(rate=0.0)}),
        ("a dropout that is off there alone", {**here(rate=0.0), **there(rate=0.0)}),
        ("operations for activations", trained(gate=hard_sigmoid, activation=hard_swish, squeeze=keras.ops.relu)),
    ],
    "modernbert": [
        ("all positions shifted", trained(attention={"shift": 3})),
        ("not tied in both", {**trained(tied=False), **there(tied=False)}),
        ("other rates", {**trained(rate=0.3, attention_rate=0.3, mlp_rate=0.3), **there(rate=0.3)}),
    ],
    "wav2vec2": [
        ("three layers", {**here(count=3), **there(count=3)}),
        ("the formula of GELU", here(layer_gelu=gelu)),
        ("frozen in both", {**trained(freezes=True), **there(freezes=True)}),
        ("no dropout", {**trained(rate=0.0, attention_rate=0.0, projection_rate=0.0), **there(rate=0.0)}),
    ],
    "unet": [
        ("linear in both", {**here(interpolation="bilinear"), **there(up="bilinear")}),
        ("pads counted in both", {**here(mean_pooling="with pads"), **there(count_include_pad=True)}),
        ("one size, so no window more", {**here(size=16), **there(ceil_mode=True)}),
        ("one size, and no pads", here(size=16, pool_padding="same")),
    ],
    "tagger": [
        ("both directions put together by hand", trained(backward="own")),
        ("a padded word there", {**trained(), **there(padding_idx=0)}),
        ("frozen in both", {**trained(freezes=True), **there(freezes=True)}),
        ("no dropout", {**trained(rate=0.0, between=0.0), **there(rate=0.0)}),
    ],
    "swin": [
        ("wider", {**trained(width=16), **there(width=16)}),
        ("other rates", {**here(rate=0.2, attention={"rate": 0.2}), **there(rate=0.2)}),
    ],
}


def list_mistakes():
    return [replace(mistake, port=port) for port, mistakes in MISTAKES.items() for mistake in mistakes]


def list_right_ports():
    ports = []
    for port, others in RIGHT.items():
        for seed in (0, 1):
            ports.append((port, f"seed {seed}", {"seed": seed}))
            ports.append((port, f"seed {seed}, trained", {"seed": seed, "with_targets": True}))
        ports += [(port, label, options) for label, options in others]
    return ports


def judge(mistake):
    """Return what is named of a mistake, and what is said."""
    try:
        report = report_on_port(mistake.port, **mistake.options)
    except ValueError as error:  # of `load_pretrained`, before there is a report
        summary = text = str(error)
        is_told = True
    else:
        summary, text = report.summary, " ".join(str(report).split())
        is_told = not report.ok or "differ" in summary
    if not is_told:
        return "silent", text
    if mistake.words and mistake.words in text:
        return "cause", text
    return ("place" if mistake.place in summary else "wrong"), text


def is_silent(report):
    """Say whether a report on a right port says nothing of a difference."""
    return report.ok and report.summary.startswith("The port is equal") and "these differ" not in report.summary


def name_of(value):
    return f"{value.port}, {value.label}"


@pytest.mark.parametrize("mistake", list_mistakes(), ids=name_of)
def test_a_mistake_is_named(mistake):
    found, text = judge(mistake)
    assert found == mistake.found, text


@pytest.mark.parametrize(
    ("port", "options"),
    [pytest.param(port, options, id=f"{port}, {label}") for port, label, options in list_right_ports()],
)
def test_nothing_is_said_of_a_right_port(port, options):
    report = report_on_port(port, **options)
    assert is_silent(report), str(report)


def write_record(is_verbose, write=sys.stdout.write):
    """Write how many mistakes are named, by architecture, and each that is silent or explained in a wrong way."""
    counts = {port: Counter() for port in MISTAKES}
    for mistake in list_mistakes():
        found, text = judge(mistake)
        counts[mistake.port][found] += 1
        was = f", was {mistake.found}" if found != mistake.found else ""
        if is_verbose or was or found in ("silent", "wrong"):
            write(f"{name_of(mistake)}: {found}{was}: {text}\n\n")
    for port, label, options in list_right_ports():
        report = report_on_port(port, **options)
        counts[port]["right"] += 1
        if not is_silent(report):
            counts[port]["false alarms"] += 1
            write(f"{port}, {label}: false alarm: {report.summary}\n\n")
    columns = ("cause", "place", "wrong", "silent", "right", "false alarms")
    counts["all"] = sum(counts.values(), Counter())
    write("| port | mistakes | " + " | ".join(columns) + " |\n" + "| --- " * 8 + "|\n")
    for port, count in counts.items():
        mistakes = sum(count[column] for column in columns[:4])
        write(f"| {port} | {mistakes} | " + " | ".join(str(count[column]) for column in columns) + " |\n")


if __name__ == "__main__":
    write_record("-v" in sys.argv)
