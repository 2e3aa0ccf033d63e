"""Exchanged axes: images of which a side is taken for the channels."""

from collections.abc import Iterator

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._first_inputs import MOST_CHANNELS
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, layer_count, rule
from keras_initx.tools.diagnose._seen import SeenLayer


@rule("exchanged axes")
def exchanged_axes(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report images of which a side is taken for the channels.

    Finds:
        a two-dimensional convolution that takes a side of square images from outside the model for
        their channels, and up to {MOST_CHANNELS} channels for a side

    Why:
        images of shape (1, 28, 28) are for `channels_first`: with `channels_last` they are a line
        of 28 pixels with 28 channels, of which most of a kernel meets only the padding

    Level:
        warning

    Remedy:
        `keras.ops.moveaxis(x, 1, -1)`, or another `Reshape`
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
        f"{first.title} gets images of shape {shape}{layer_count(hit)}, and takes a side of them "
        "for their channels"
    )
    channels, height, width = shape
    text = f"images of shape ({height}, {width}, {channels}), such as keras.ops.moveaxis(x, 1, -1)"
    if channels > MOST_CHANNELS:
        text = f'data_format="channels_last" in {first.title}, or images with the channels first'
    yield Finding([layer for layer, _ in hit], evidence, Remedy(text))
