"""Models of `keras.applications`."""

import keras

from zoo import CLASSES, normal, pixels, tokens


def application(name, x=normal, *, size=32, gradients=False):
    """Return a model of `keras.applications`; the larger ones without a backward pass, which takes long to compile."""
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )
    return model, x(8, size, size, 3), tokens(8, vocabulary=10) if gradients else None, CLASSES


ZOO = {
    "MobileNetV2": (lambda: application("MobileNetV2", gradients=True), set()),
    "MobileNetV2, pixels": (lambda: application("MobileNetV2", pixels), {("unscaled inputs", "note")}),
    # Smaller images leave the last batch normalizations too few values to go by.
    "ResNet50": (lambda: application("ResNet50", size=64, gradients=True), set()),
    "EfficientNetB0": (lambda: application("EfficientNetB0", pixels), set()),
    # Without normalization Glorot's weights halve the variance in each of 15 layers.
    "VGG16": (lambda: application("VGG16"), {("vanishing", "warning")}),
}


# Larger ones take minutes to compile.
EVERYWHERE = ("MobileNetV2", "VGG16")
