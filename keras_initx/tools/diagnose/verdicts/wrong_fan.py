"""Wrong fan: kernels whose standard deviation comes from the fans of other axes.

Keras takes the last two axes of any kernel for inputs and outputs. The kernel of a transposed
convolution has them in the opposite order, and a depthwise kernel has a multiplier at the end.
"""

from collections.abc import Iterator

import keras

from keras_initx.initializers._scale import fans
from keras_initx.initializers._variance import stddev_for
from keras_initx.initializers._variance_named import HeNormal
from keras_initx.inspection._kernels import (
    TRANSPOSED,
    is_depthwise,
    is_kernel,
    kernel_axes,
    kernel_fans,
)
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, MeasuredWeight, list_weights
from keras_initx.tools.diagnose._redrawing import make_choice, make_rules
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule, write_rest

# Factor between the standard deviation of a depthwise or transposed kernel and the one that its
# initializer intends.
WRONG_FAN = 1.5


@rule("wrong fan")
def wrong_fan(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report kernels whose size comes from the fans of other axes.

    Reported if:
        The standard deviation of a depthwise or transposed kernel differs by a factor above
        {WRONG_FAN:g} from the one that its initializer intends.

    Level:
        note

    Why:
        Keras computes the fans of such kernels from the wrong axes. If a signal is lost because of
        this, `diagnose` also reports another problem.

    Typical causes:
        The default initializer of `DepthwiseConv2D` or `Conv2DTranspose`.

    Fix:
        Pass `input_axes` and `output_axes` to an initializer of `keras_initx`.
    """
    hit = []
    for weight in list_weights(layers):
        intended = _compute_intended_std(weight)
        if intended and not 1 / WRONG_FAN <= weight.report.std / intended <= WRONG_FAN:
            hit.append(weight)
    if not hit:
        return
    first, intended = hit[0].report, _compute_intended_std(hit[0])
    evidence = (
        f"{first.path}{write_rest(hit)} has standard deviation {first.std:.3g}; its "
        f"initializer intends {intended:.3g} for the {first.fan_in} inputs of a unit. "
        "The initializer computes wrong fans from the shape of this kernel"
    )
    inputs, units = first.axes or ((), ())
    _, text = make_choice(HeNormal(input_axes=list(inputs), output_axes=list(units)))
    # `initialize` knows the axes.
    rules = make_rules(hit, HeNormal())
    remedy = Remedy(f"use {text}, or a similar initializer with these axes", rules)
    yield Finding([weight.layer for weight in hit], evidence, remedy, "note")


def _compute_intended_std(weight: MeasuredWeight) -> float | None:
    """Compute the standard deviation that the initializer of a kernel intends.

    It is `None` for weights that are no depthwise or transposed kernels. With strides, a unit sums
    over a part of the window only. A layer does not tell its initializer so, and weights may have
    the scale for the whole window, too. The result is the value in this range that is nearest to
    the deviation of the kernel.
    """
    layer, kernel = weight.own.layer, weight.own.variable
    if not is_kernel(kernel):
        return None
    if is_depthwise(layer, kernel.name):
        initializer = layer.depthwise_initializer
    elif isinstance(layer, TRANSPOSED):
        initializer = layer.kernel_initializer
    else:
        return None
    if not isinstance(initializer, keras.initializers.VarianceScaling):
        return None
    # Some subclasses, such as `Orthogonal`, have no scale.
    if not hasattr(initializer, "scale"):
        return None
    scale, mode = float(initializer.scale), initializer.mode
    least = stddev_for(scale, mode, *fans(tuple(kernel.shape), *kernel_axes(layer, kernel)))
    most = stddev_for(scale, mode, *kernel_fans(layer, kernel))
    return min(max(weight.report.std, least), most)
