"""Exchanged axes: images whose side is taken for the channels."""

from collections.abc import Iterator

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._kernel_inputs import MOST_CHANNELS
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule, write_count


@rule("exchanged axes")
def exchanged_axes(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report images whose side is taken for the channels.

    Reported if:
        A two-dimensional convolution gets square images from outside the model, and takes one side
        for the channels, and up to {MOST_CHANNELS} channels for a side.

    Level:
        warning

    Why:
        Images of shape (1, 28, 28) are for `channels_first`. With `channels_last`, they are one
        line of 28 pixels with 28 channels, and most of a kernel meets only padding.

    Typical causes:
        - images from torch, whose channels come first
        - a `Reshape` with the channels in front

    Fix:
        Move the axis of your images by `keras.ops.moveaxis(x, 1, -1)`, or change your `Reshape`.
    """
    hit = []
    for layer in layers:
        image = layer.first_inputs.image
        if image is not None:
            hit.append((layer, image))
    if not hit:
        return
    first, shape = hit[0]
    evidence = (
        f"{first.title} gets images of shape {shape}{write_count(hit)}, and takes one side for the "
        "channels"
    )
    channels, height, width = shape
    moved = "keras.ops.moveaxis(x, 1, -1)"
    text = f"pass images of shape ({height}, {width}, {channels}), for example {moved}"
    if channels > MOST_CHANNELS:
        text = (
            f'set data_format="channels_last" in {first.title}, or pass images with channels first'
        )
    yield Finding([layer for layer, _ in hit], evidence, Remedy(text))
