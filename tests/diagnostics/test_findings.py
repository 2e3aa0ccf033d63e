"""What each rule says of made-up measurements, of several layers at once: all of it, and nothing else."""

import math

import numpy as np
import pytest

from keras_initx.diagnostics import LayerReport, Signal, Thresholds, WeightReport
from keras_initx.diagnostics._diagnose import RULES
from keras_initx.diagnostics._measure import Measurements

pytestmark = pytest.mark.once

BY_NAME = {rule.problem: rule for rule in RULES}
STANDARDIZED = "standardized targets, or a bias of the last layer at their mean"


def signal(std, mean=0.0, size=32, nonfinite=0):
    """Return the signal of `size` values, of which the last few are not finite."""
    values = mean + std * np.resize([1.0, -1.0], size)
    values[size - nonfinite :] = np.nan
    found = Signal()
    found.add(values[:, None])
    return found


def layer(name, std=1.0, *, mean=0.0, size=32, nonfinite=0, inputs=None, weights=(), **measured):
    after = signal(std, mean, size, nonfinite)
    measured = {"shape": (size, 1), "after": after, "first_inputs": inputs, **measured}
    return LayerReport(name, "Dense", weights=list(weights), **measured)


def weight(name="kernel", std=1.0, mean=0.0, **measured):
    return WeightReport(name, (4, 4), mean, std, 0.0, 1.0, **measured)


ZERO = {"zero": True, "axes": ((0,), (1,))}


def found(problem, *layers, inputs=None, **thresholds):
    """Return the level, the layers, the evidence and the remedy of each verdict of one rule."""
    measured = Measurements(list(layers), inputs, Thresholds(**thresholds))
    verdicts = list(BY_NAME[problem].verdicts(measured))
    assert {verdict.problem for verdict in verdicts} <= {problem}
    return [(verdict.level, verdict.layers, verdict.evidence, verdict.remedy) for verdict in verdicts]


def test_unscaled_inputs():
    layers = [
        layer("edge", inputs=signal(6, 8)),
        layer("few", inputs=signal(50, size=15)),
        layer("normalized", inputs=signal(20), normalized_by="norm"),
        layer("first", inputs=signal(40, 30, size=16)),
        layer("bounded", activation="tanh", inputs=signal(12), normalized_by="norm"),
        layer("inside"),
    ]
    remedy = (
        "standardize the inputs: keras.layers.Normalization() adapted to the data, or keras.layers.Rescaling(1 / 127.5,"
        " offset=-1) for images from 0 to 255"
    )
    evidence = "first gets inputs from -10 to 70, with mean 30 and standard deviation 40 (2 layers)"
    noted = "normalized gets inputs from -20 to 20, with mean 0 and standard deviation 20"
    assert found("unscaled inputs", *layers) == [
        ("warning", ("first", "bounded"), f"{evidence}: initializers assume inputs of standard deviation 1", remedy),
        ("note", ("normalized",), f"{noted}; norm directly after normalized normalizes this scale", remedy),
    ]


OF_KERNELS = "in this and all earlier layers; if they have it, keras_initx.lsuv(model, x)"


def test_exploding():
    layers = [
        layer("edge", 1000),
        layer("few", 1e6, size=15),
        layer("normalized", 3000, normalized_by="norm"),
        layer("first", 2000, activation="relu", before=signal(2000)),
        layer("broken", 5, nonfinite=8),
        layer("last", 4000, nonfinite=16, normalized_by="norm"),
    ]
    evidence = "the standard deviation grows from 1 at the inputs to 2e+03 in first and 4e+03 in last (3 layers)"
    noted = "the standard deviation grows from 1 at the inputs to 3e+03 in normalized"
    assert found("exploding", *layers, inputs=signal(1)) == [
        (
            "error",
            ("first", "broken", "last"),
            f"{evidence}; 25% of the outputs of broken are not finite",
            f"keras_initx.HeNormal() {OF_KERNELS}",
        ),
        (
            "note",
            ("normalized",),
            f"{noted}; norm directly after normalized normalizes this scale",
            f"keras_initx.GlorotUniform() {OF_KERNELS}",
        ),
    ]


@pytest.mark.parametrize(
    ("inputs", "remedy"),
    [
        ([signal(100)], f"keras_initx.GlorotUniform() {OF_KERNELS}"),
        ([signal(1), signal(200), signal(110)], "standardize the inputs (their standard deviation is 200), then "),
        ([signal(200), signal(1, nonfinite=8)], "finite inputs (25% of them are not), then "),
        (
            [signal(2, -150), signal(120)],
            "standardize the inputs (their mean is -150, their standard deviation is 2), then ",
        ),
    ],
    ids=["edge", "largest", "not finite", "mean"],
)
def test_inputs_that_explode(inputs, remedy):
    layers = [layer(f"layer_{place}", inputs=values) for place, values in enumerate(inputs)]
    # What is before a `Rescaling` counts only where no kernel gets inputs from outside.
    ((_, _, evidence, given),) = found("exploding", *layers, layer("large", 2000), inputs=signal(1e6))
    assert evidence == "the standard deviation grows from 1e+06 at the inputs to 2e+03 in large"
    assert given == remedy + ("" if OF_KERNELS in remedy else "keras_initx.GlorotUniform()")
    ((_, _, evidence, given),) = found("exploding", layer("large", 2000))
    assert (evidence, given) == (
        "the standard deviation grows to 2e+03 in large",
        f"keras_initx.GlorotUniform() {OF_KERNELS}",
    )
    ((_, _, _, given),) = found("exploding", layer("large", 2000), inputs=signal(1e6))
    assert given == "standardize the inputs (their standard deviation is 1e+06), then keras_initx.GlorotUniform()"


def test_focused_attention():
    layers = [layer("edge", focus=0.75), layer("first", 3, focus=0.8), layer("worst", 4, focus=0.97)]
    evidence = (
        "the queries of worst, of standard deviation 4, give a single key 97% of their weight on average (2 layers): "
        "they get little gradient"
    )
    smaller = "smaller kernels of queries and keys: keras_initx.GlorotUniform()"
    remedy = f"{smaller}, or a normalization before the attention layer"
    assert found("focused attention", *layers) == [("warning", ("first", "worst"), evidence, remedy)]
    ((*_, given),) = found("focused attention", layer("small", 1.9, focus=0.8))
    assert given == "scores divided by the square root of the size of a head, as in keras.layers.MultiHeadAttention"


def test_steep_activation():
    layers = [
        layer("first", inputs=signal(1), slopes=(21, 30), gain=1.0),
        layer("edge", slopes=(3, 4.2), gain=1.0),
        layer("few", slopes=(21, 30), gain=1.0, size=15),
        layer("without kernel", slopes=(21, 30)),
        layer("linear", slopes=(29.9, 30), gain=1.0),
        layer("small", slopes=(20, 29.96), gain=0.2),
        layer("worst", slopes=(21, 29.97), gain=0.5),
        layer("out", slopes=(21, 30), gain=1.0, is_output=True),
    ]
    evidence = (
        "the activation of worst has slopes up to 30, and a root mean square of 21; with the kernel it makes "
        "differences between examples 10.5 times as large (2 layers): what comes out resembles noise"
    )
    remedy = 'keras_initx.VarianceScaling(2 / 30**2, distribution="uniform") in these layers'
    assert found("steep activation", *layers) == [("warning", ("small", "worst"), evidence, remedy)]


def test_what_a_steep_activation_loses_is_not_scaled_to_the_data():
    layers = [layer("sine", slopes=(30, 30)), layer("out", 1e-5, loses_signal=True)]
    ((*_, remedy),) = found("vanishing", *layers)
    assert remedy == 'keras_initx.VarianceScaling(2 / 30**2, distribution="uniform") in this and all earlier layers'


def test_one_sided_router():
    layers = [
        layer("edge", router_share=0.9),
        layer("few", router_share=0.99, size=15),
        layer("first", router_share=0.92),
        layer("worst", router_share=0.95, shape=(8, 4, 6)),
        layer("out", router_share=0.99, is_output=True),
    ]
    evidence = (
        "the softmax of worst gives 95% of its weight to one of 6 units for the whole batch (2 layers): the others are "
        "hardly used"
    )
    remedy = 'keras_initx.SmallNormal() and bias_initializer="zeros" in worst, or a normalization before it'
    assert found("one-sided router", *layers) == [("warning", ("first", "worst"), evidence, remedy)]


@pytest.mark.parametrize(
    ("inputs", "remedy"),
    [
        (signal(6, 8), f"keras_initx.LecunNormal() {OF_KERNELS}"),
        (
            signal(6, 9),
            "standardize the inputs (their mean is 9, their standard deviation is 6), then keras_initx.LecunNormal()",
        ),
    ],
    ids=["edge", "large"],
)
def test_saturated(inputs, remedy):
    layers = [
        layer("edge", activation="tanh", saturated=0.25),
        layer("few", activation="tanh", saturated=1.0, size=15),
        layer("first", activation="selu", saturated=0.3, inputs=inputs),
        layer("worst", activation="tanh", saturated=0.5, before=signal(7)),
        layer("inside", activation="sigmoid", saturated=0.4),
        layer("out", activation="sigmoid", saturated=0.9, is_output=True),
        layer("end", activation="tanh", saturated=0.3, is_output=True),
    ]
    evidence = (
        "50% of the outputs of worst are at the limits of tanh, its input has standard deviation 7 (4 layers), where "
        "its gradient is almost 0"
    )
    assert found("saturated", *layers, inputs=signal(1e6)) == [
        ("warning", ("first", "worst", "inside", "end"), evidence, remedy)
    ]


def test_saturated_output():
    layers = [layer("edge", certain=0.5), layer("first", certain=0.6, before=signal(5)), layer("worst", certain=0.8)]
    evidence = (
        "worst is saturated for 80% of the examples before training (2 layers): the loss starts far above that of "
        "guessing, and the first steps only undo this"
    )
    remedy = "smaller weights in the last layer: keras_initx.GlorotUniform()"
    assert found("saturated output", *layers) == [("warning", ("first", "worst"), evidence, remedy)]
    ((_, _, evidence, given),) = found("saturated output", layers[1], layer("other", inputs=signal(11)))
    assert evidence.startswith("first is saturated for 60% of the examples before training, its input has standard dev")
    assert ("iation 5: the loss" in evidence, given) == (True, f"standardize the inputs, then {remedy}")


SMALLER_AT_THE_END = "smaller weights in the last layer: keras_initx.GlorotUniform()"


def test_large_first_loss():
    first = layer("first", loss=20.0, blind_loss=2.0)
    worst = layer("worst", 40, loss=18.0, blind_loss=0.5)
    others = [
        layer("edge", loss=8.0, blind_loss=0.5),
        layer("few", size=15, loss=100.0, blind_loss=1.0),
        layer("exploding", 2000, loss=100.0, blind_loss=1.0),
        layer("certain", loss=100.0, blind_loss=1.0, certain=0.6),
        layer("blind", loss=100.0, blind_loss=0.0),
        layer("unknown"),
    ]
    evidence = (
        "the loss of worst starts at 18, that of a blind guess is 0.5; its outputs have standard deviation 40 "
        "(2 layers)"
    )
    assert found("large first loss", *others, first, worst) == [
        ("warning", ("first", "worst"), evidence, SMALLER_AT_THE_END)
    ]
    ((_, layers, evidence, remedy),) = found("large first loss", first)
    assert (layers, remedy) == (("first",), STANDARDIZED)
    # Errors of 50 are not beyond outputs of 30, whatever they deviate by.
    around = layer("around", mean=30, loss=50.0, blind_loss=1.0)
    unscaled = layer("unscaled", inputs=signal(11))
    ((_, _, _, remedy),) = found("large first loss", around, unscaled)
    assert remedy == f"standardize the inputs, then {SMALLER_AT_THE_END}"


def test_a_large_first_loss_is_due_to_what_the_last_layer_gets_if_that_is_large():
    out = layer("out", 40, loss=18.0, blind_loss=0.5, loss_kind="crossentropy", input_size=6.0)
    ((_, _, evidence, remedy),) = found("large first loss", layer("hidden", 6), out)
    assert evidence.endswith("standard deviation 40, and its inputs a root mean square of 6")
    assert remedy == "keras.layers.LayerNormalization() before out"
    branches = [layer(f"end_{number}", ends_branch=True) for number in range(6)]
    ((_, _, _, remedy),) = found("large first loss", *branches, out)
    assert remedy == f"{BRANCHES}; or keras.layers.LayerNormalization() before out"
    factor = layer("factor", 40, loss=18.0, blind_loss=0.5, loss_kind="crossentropy", weights=[weight()])
    ((_, _, _, remedy),) = found("large first loss", factor)
    assert remedy.startswith("a smaller factor in factor: a higher temperature")


BRANCHES = 'kernel_initializer="zeros" in the last layer of each residual branch: end_0, end_1, end_2, end_3 and 2 more'


@pytest.mark.parametrize("problem", ["exploding", "exploding gradient"])
def test_branches_are_the_cause_of_what_explodes_if_no_kernel_enlarges(problem):
    branches = [layer(f"end_{number}", ends_branch=True) for number in range(6)]
    large = layer("large", 2000, gradient_norm=1e6)
    ((*_, remedy),) = found(problem, *branches, layer("kernel", gain=2.0), large)
    assert remedy == f"{BRANCHES}; or a normalization at the start of each branch"
    ((*_, remedy),) = found(problem, *branches, layer("kernel", gain=2.1), large)
    assert "zeros" not in remedy


def test_recurrent_kernel():
    options = {"steps": 10}
    layers = [
        layer("edge", recurrent_gains=(1.8, 3.0), **options),
        layer("few steps", recurrent_gains=(0.1, 0.1), steps=9),
        layer("gated", **options),
        layer("zeros", recurrent_gains=(0.0, 0.0), **options),
        layer("some kept", recurrent_gains=(0.2, 0.6), **options),
        layer("small", recurrent_gains=(0.2, 0.5), **options),
    ]
    evidence = (
        "the singular values of the recurrent kernel of small are at most 0.5: of a state, and of its gradient, at "
        "most 0.001 is left after 10 steps"
    )
    remedy = "recurrent_initializer=keras_initx.Orthogonal()"
    assert found("recurrent kernel", *layers) == [("warning", ("small",), evidence, remedy)]
    large = layer("large", recurrent_gains=(3.0, 4.0), gradient_norm=1e6, **options)
    ((_, names, evidence, _),) = found("recurrent kernel", large, layers[-1])
    assert names == ("large", "small")
    assert evidence.endswith("in 10 steps a small state grows by a factor of 6e+04 (2 layers)")
    # Not smaller weights of all layers.
    ((*_, given),) = found("exploding gradient", large)
    assert given == remedy


def test_dead_units():
    layers = [
        layer("edge", dead=0.75),
        layer("few", dead=1.0, size=15),
        layer("first", dead=0.8, before=signal(1, -3)),
        layer("worst", dead=0.9, size=16, before=signal(2, -5)),
    ]
    evidence = (
        "90% of the units of worst output 0 for all 16 examples; their inputs have mean -5 and standard deviation 2 "
        "(2 layers): they get no gradient"
    )
    remedy = (
        "weights with mean 0 and a nonnegative bias: keras_initx.HeNormal() with "
        "bias_initializer=keras_initx.ReLUBias(0.01)"
    )
    assert found("dead units", *layers) == [("warning", ("first", "worst"), evidence, remedy)]
    ((level, names, evidence, _),) = found("dead units", *layers, layer("all", dead=1.0))
    assert (level, names) == ("error", ("first", "worst", "all"))
    assert evidence.startswith("100% of the units of all output 0 for all 32 examples; ")


def small(inputs=None):
    return [
        layer("edge", 0.001, loses_signal=True, inputs=inputs),
        layer("few", 1e-4, size=15, loses_signal=True),
        layer("noted", 1e-4),
        layer("cause", 5e-4, activation="relu", loses_signal=True),
        layer("starved", 2e-4, is_starved=True),
        layer("broken", 0, nonfinite=8, is_starved=True),
    ]


def test_vanishing():
    intended = layer("zeros", 0, weights=[weight(**ZERO)])
    biased = layer("biased", 1e-5, mean=1.0, is_starved=True, weights=[weight(**ZERO)])
    lost = layer("lost", 0, weights=[weight(**ZERO)], loses_signal=True)
    behind = layer("behind", 1e-6, is_starved=True)
    falls = "the standard deviation falls from 1 at the inputs to"
    noted = "; no later layer gets too small an input because of it"
    remedies = f"keras_initx.HeNormal() {OF_KERNELS}", f"keras_initx.GlorotUniform() {OF_KERNELS}"
    expected = [
        (
            "warning",
            ("cause", "starved", "biased"),
            f"{falls} 0.0005 in cause and 1e-05 in biased (3 layers)",
            remedies[0],
        ),
        ("note", ("noted",), f"{falls} 0.0001 in noted{noted}", remedies[1]),
    ]
    assert found("vanishing", *small(), intended, biased, lost, behind, inputs=signal(1)) == expected


@pytest.mark.parametrize(
    ("gradients", "zeros", "level"),
    [((0.0, 1.0), False, "error"), ((1e-9, 0.0), False, "warning"), ((0.0, 1.0), True, "warning")],
    ids=["none", "little", "zeros"],
)
def test_what_vanishes_is_an_error_where_the_first_gradient_is_zero(gradients, zeros, level):
    first, last = gradients
    others = [layer("untrained"), layer("first", gradient_norm=first), layer("last", gradient_norm=last)]
    if zeros:
        others.append(layer("zeros", weights=[weight(), weight("gamma", zero=True)]))
    verdicts = found("vanishing", *others, *small(signal(5e-4, 0.01)), inputs=signal(1))
    assert [verdict[0] for verdict in verdicts] == [level, "note"]
    standardized = "standardize the inputs (their mean is 0.01, their standard deviation is 0.0005), then"
    assert [verdict[-1] for verdict in verdicts] == [
        f"{standardized} keras_initx.HeNormal()",
        f"{standardized} keras_initx.GlorotUniform()",
    ]


def test_alike():
    def told(what, cosine, last, start, first, count):
        evidence = f"the mean cosine of the outputs for different {what} is {cosine} in {last} and {start} in {first}"
        branches = "residual connections with the normalization inside each branch"
        remedy = f"{branches}, or the rules of keras_initx.recipes.deepnorm"
        return ("warning", count, f"{evidence} ({len(count)} layers): later layers get the same for all", remedy)

    layers = [
        layer("dense"),
        layer("first", examples_alike=0.5, positions_alike=0.25),
        layer("edge", examples_alike=0.99, positions_alike=0.9999),
        layer("norm", examples_alike=0.995, positions_alike=0.99995),
        layer("last", examples_alike=0.992, positions_alike=0.99992),
    ]
    both = ("norm", "last")
    assert found("alike", *layers) == [
        told("examples", "0.99200", "last", "0.50", "first", both),
        told("positions", "0.99992", "last", "0.25", "first", both),
    ]
    # Ten times as far from 1 as the limit.
    for start, count in ((0.89, 1), (0.91, 0)):
        assert len(found("alike", layer("first", examples_alike=start), layer("norm", examples_alike=0.995))) == count


def test_alike_at_the_end():
    first = layer("first", activation="tanh", inputs_differ=0.5, weights=[weight(axes=((0,), (1,)))])
    evidence = (
        "the inputs of out differ between examples by 0.009 of their root mean square, those of first by 0.5: the last "
        "layer gets the same for all"
    )
    remedy = "keras_initx.Orthogonal() or keras_initx.GlorotUniform() in all layers"
    gate = layer("gate", inputs_differ=0.001)
    edge = layer("edge", inputs_differ=0.011, is_output=True)
    out = layer("out", inputs_differ=0.009, is_output=True)
    assert found("alike", first, gate, edge, out) == [("warning", ("out",), evidence, remedy)]
    # What has a verdict of its own.
    assert found("alike", first, layer("zeros", weights=[weight(**ZERO)]), out) == []
    assert found("alike", layer("first", inputs_differ=0.09), out) == []
    assert found("alike", out) == []
    bias = WeightReport("bias", (4,), 0.0, 0.6, 0.0, 1.1)
    ((*_, given),) = found("alike", first, layer("biased", weights=[bias]), out)
    assert given == f'bias_initializer="zeros" and {remedy}'


UNLESS = (
    ", unless the zeros are intended, as at the end of a residual branch, at the output, in an adapter or a position "
    "embedding"
)


def test_all_zero_weights():
    layers = [
        layer("noted", activated_by="relu", weights=[weight(std=0.0, **ZERO), weight("bias", std=0.0)]),
        layer("scale", weights=[weight("gamma", zero=True)], loses_signal=True),
        layer("starved", weights=[weight(), weight("other", **ZERO)], is_starved=True),
    ]
    evidence = "all weights of scale/gamma, starved/other are 0"
    noted = "all weights of noted/kernel are 0; no later layer gets equal inputs for all examples because of it"
    assert found("all-zero weights", *layers) == [
        (
            "error",
            ("scale", "starved"),
            f"{evidence}: units have the same output, and no gradient passes back through them",
            "ones for the scale of a normalization",
        ),
        ("note", ("noted",), noted, f"random weights: keras_initx.HeNormal(){UNLESS}"),
    ]
    # What is starved by something else than zeros.
    ((level, _, _, _),) = found("all-zero weights", layers[2], layer("small", loses_signal=True))
    assert level == "note"


GATES = {
    "gate": {},
    "loses its signal": {"loses_signal": True},
    "starved": {"is_starved": True},
    "output": {"is_output": True},
    "large": {"std": 1e-3},
    "learns by its bias": {"name": "bias"},
    "gets no gradient": {"gradient": 0.0},
}


def gate(std=1e-4, name="kernel", gradient=1.0, **measured):
    weights = [weight(gradient=0.0), weight(name, gradient=gradient)]
    return layer("gate", std, weights=weights, gradient_norm=1.0, **measured)


@pytest.mark.parametrize("kind", GATES)
def test_zeros_that_get_no_gradient_are_harmless_only_while_a_branch_is_shut(kind):
    zeros = [weight(gradient=0.0, **ZERO)]
    layers = [
        layer("before", weights=zeros, gradient_norm=0.0),
        layer("first", weights=[weight(gradient=0.5), *zeros], gradient_norm=0.5),
        layer("stays", weights=zeros, gradient_norm=0.0),
        layer("learns", weights=[weight(gradient=1.0, **ZERO)], gradient_norm=1.0),
        layer("out", weights=zeros, gradient_norm=0.0, is_output=True),
    ]
    levels = {}
    for level, names, _, _ in found("all-zero weights", *layers, gate(**GATES[kind])):
        levels |= dict.fromkeys(names, level)
    others = dict.fromkeys(["before", "first", "learns", "out"], "note")
    assert levels == {**others, "stays": "note" if kind == "gate" else "error"}
    weak = [layer("weak", gradient_norm=1e-5), layer("strong", gradient_norm=1.0)]
    assert bool(found("vanishing gradient", *weak, gate(**GATES[kind]))) == (kind != "gate")


def test_constant_weights():
    first = layer("first", weights=[weight("kernel", 0.0, 0.5, constant=True, identical_units=4)])
    other = layer("other", activation="selu", weights=[weight(), weight("extra", 0.0, 2.0, constant=True)])
    zero = layer("zero", weights=[weight(constant=True, **ZERO)])
    identical = "the units are identical, and training updates them in the same way"
    assert found("constant weights", zero, first, other) == [
        (
            "error",
            ("first", "other"),
            f"all weights of first/kernel, other/extra are equal, 0.5 in first/kernel: {identical}",
            "random weights: keras_initx.GlorotUniform()",
        )
    ]
    assert found("constant weights", other) == [
        (
            "error",
            ("other",),
            f"all weights of other/extra are equal, 2: {identical}",
            "random weights: keras_initx.LecunNormal()",
        )
    ]
    assert found("identical units", first) == []


def test_identical_units():
    layers = [layer(name, weights=[weight(identical_units=count)]) for name, count in (("a", 0), ("b", 3), ("c", 2))]
    evidence = (
        "3 units of b/kernel have the same weights as another unit{}: if their outgoing weights are equal too, "
        "training updates them in the same way"
    )
    remedy = "independent random weights for each unit: keras_initx.GlorotUniform()"
    assert found("identical units", *layers) == [
        ("warning", ("b", "c"), evidence.format(", and 1 more weights"), remedy)
    ]
    assert found("identical units", *layers[:2]) == [("warning", ("b",), evidence.format(""), remedy)]


def test_twin_tensors():
    def twins(digests):
        return [layer(f"l{place}", weights=[weight(digest=digest)]) for place, digest in enumerate(digests)]

    ((_, names, evidence, _),) = found("twin tensors", *twins("abacb"), layer("none", weights=[weight(), weight()]))
    assert names == ("l0", "l2", "l1", "l4")
    assert evidence == "the same random values: l0/kernel = l2/kernel; l1/kernel = l4/kernel"
    ((_, names, evidence, _),) = found("twin tensors", *twins("aaaaaabbccdd"))
    assert names == tuple(f"l{place}" for place in range(12))
    of_a = "l0/kernel = l1/kernel = l2/kernel = l3/kernel and 2 more"
    assert evidence == (f"the same random values: {of_a}; l6/kernel = l7/kernel; l8/kernel = l9/kernel and 1 more")
    both = layer("lstm", weights=[weight(digest="a"), weight("recurrent_kernel", digest="a")])
    ((level, names, evidence, _),) = found("twin tensors", both)
    assert (level, names) == ("warning", ("lstm",))
    assert evidence == "the same random values: lstm/kernel = lstm/recurrent_kernel"
    assert found("twin tensors", *twins("abc")) == []


def test_gates():
    overwritten = [layer(name, forget_bias_overwritten=name != "b") for name in "abcdef"]
    ((_, names, evidence, _),) = found("forget bias overwritten", *overwritten)
    assert names == tuple("acdef")
    assert evidence.startswith("a, c, d, e and 1 more: the bias initializer fills the other gates, but the forget-gate")
    # Half is kept with biases of 0, and as a mean of 0.1 and 0.8.
    ninth, four = -math.log(9), math.log(4)
    layers = [
        layer("edge", gate_bias=("forget", np.zeros(4))),
        layer("dense"),
        layer("first", gate_bias=("update", np.array([ninth, four]))),
        layer("other", gate_bias=("forget", np.array([-200.0]))),
    ]
    assert found("shut gates", *layers, shut_gate=0.5) == [
        (
            "warning",
            ("first", "other"),
            "the biases of the update gates of first keep 45.0% of the state in a step",
            "bias_initializer=keras_initx.GRUUpdateBias(1.0)",
        )
    ]


def test_wrong_fan():
    def kernel(std, **expected):
        return weight(std=std, axes=((0, 1), (3,)), fan_in=9, **expected)

    layers = [
        layer("edge", weights=[kernel(1.5, expected_std=1.0)]),
        layer("noted", weights=[kernel(3.0, expected_std=1.0)], normalized_by="norm"),
        layer("small", weights=[kernel(0.25, expected_std=0.5)]),
        layer("large", weights=[weight(), kernel(4.0, expected_std=0.5)]),
        layer("unknown", weights=[kernel(4.0)]),
    ]
    remedy = "keras_initx.HeNormal(input_axes=[0, 1], output_axes=[3]), or a similar initializer with these axes"
    computes = "it computes wrong fans from the shape of this kernel"
    small = "small/kernel has standard deviation 0.25; its initializer intends 0.5 for the 9 inputs of a unit"
    noted = "noted/kernel has standard deviation 3; its initializer intends 1 for the 9 inputs of a unit"
    behind = "norm directly after noted normalizes this scale"
    assert found("wrong fan", *layers) == [
        ("warning", ("small", "large"), f"{small}, and 1 more weights: {computes}", remedy),
        ("note", ("noted",), f"{noted}: {computes}; {behind}", remedy),
    ]


def with_gradients(*norms):
    return [layer("input"), *(layer(f"l{place}", gradient_norm=norm) for place, norm in enumerate(norms))]


def test_vanishing_gradient():
    remedy = "keras_initx.Orthogonal() or keras_initx.GlorotUniform() in all layers"
    first = "the gradient norm of l0 is 1e-05, that of l2 {} (2 layers)"
    # The last is as small, but not among the first.
    assert found("vanishing gradient", *with_gradients(1e-5, 2e-4, 2.0, 1.0, 1e-9)) == [
        ("warning", ("l0", "l1"), first.format(2), remedy)
    ]
    assert found("vanishing gradient", *with_gradients(0.0, 0.0)) == [
        ("error", ("l0", "l1"), "all gradients are 0 (2 layers)", remedy)
    ]
    zeros = layer("zeros", weights=[weight("gamma", zero=True)])
    assert found("vanishing gradient", *with_gradients(0.0, 0.0), zeros) == []
    ((_, names, evidence, _),) = found("vanishing gradient", *with_gradients(0.0, 1e-6, 1.0), zeros)
    assert (names, evidence) == (("l1",), "the gradient norm of l1 is 1e-06, that of l2 1")
    for norms in ((), (1e-3, 1.0), (1e-5, math.inf), (1.0, 1e-5)):
        assert found("vanishing gradient", *with_gradients(*norms)) == []


def test_exploding_gradient():
    smaller = "smaller weights: keras_initx.Orthogonal() or keras_initx.GlorotUniform()"
    loss = f"a loss that matches the outputs (`from_logits=True` if there is no softmax), or {smaller}"
    layers = with_gradients(1e5, 2e5, 1.0, 3e5)
    evidence = "the gradient norm of l1 is 2e+05 (2 layers)"
    assert found("exploding gradient", *layers) == [("warning", ("l1", "l3"), evidence, loss)]
    for norm, text in ((math.nan, "nan"), (math.inf, "inf")):
        verdict = "error", ("l0", "l1"), f"the gradient norm of l0 is {text} (2 layers)", loss
        assert found("exploding gradient", *with_gradients(norm, 2e5)) == [verdict]
    for others, remedy in (
        ([layer("broken", nonfinite=1)], smaller),
        ([layer("one"), layer("unscaled", inputs=signal(11))], f"standardize the inputs, then {loss}"),
        ([layer("out", loss=9.0)], STANDARDIZED),
        ([layer("out", loss=8.0)], loss),
        ([layer("out", 5, loss=9.0)], loss),
    ):
        ((_, _, _, given),) = found("exploding gradient", *layers, *others)
        assert given == remedy


SUGGESTED = {
    **dict.fromkeys(["celu", "elu", "gelu", "hard_silu", "leaky_relu", "mish", "prelu", "relu", "relu6"], "HeNormal()"),
    **dict.fromkeys(["silu", "softplus", "swish"], "HeNormal()"),
    "selu": "LecunNormal()",
    **dict.fromkeys(["tanh", "sigmoid", "softmax", "own", None], "GlorotUniform()"),
}


@pytest.mark.parametrize("activation", SUGGESTED)
def test_the_initializer_that_is_suggested_suits_the_activation(activation):
    kernel = [weight(constant=True)]
    own, next_one, both = (
        layer("dense", weights=kernel, **activations)
        for activations in (
            {"activation": activation},
            {"activated_by": activation},
            {"activation": activation, "activated_by": "relu" if activation != "relu" else "tanh"},
        )
    )
    for one in (own, next_one, both):
        expected = SUGGESTED[activation or one.activated_by]
        assert found("constant weights", one)[0][-1] == f"random weights: keras_initx.{expected}"
