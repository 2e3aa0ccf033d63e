"""Initial biases of feed-forward layers."""

from keras_initx._checks import check_number
from keras_initx._typing import DType, Shape, Tensor
from keras_initx.initializers._base import ConstantInitializer, register
from keras_initx.sampling import Namespace


@register("relu_bias", formula="value", use="ReLU layers with small weights: all units are active from the first step")
class ReLUBias(ConstantInitializer):
    """Initialize every bias to the same small positive value.

    A ReLU unit whose bias starts above zero is active for most inputs and therefore receives a
    gradient from the first step.

    Args:
        value: The bias, a positive number.

    Raises:
        TypeError: If `value` is not a number.
        ValueError: If `value` is not positive and finite.

    Example:
        >>> keras.ops.convert_to_numpy(ReLUBias(0.5)((3,))).tolist()
        [0.5, 0.5, 0.5]
        >>> layer = keras.layers.Dense(64, activation="relu", bias_initializer="initx.relu_bias")

    Reference:
        Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural
        networks", NIPS 2012, section 5 (with the value 1).
    """

    def __init__(self, value: float = 0.01) -> None:
        self.value: float = check_number("value", value, positive=True)

    def _fill(self, xp: Namespace, shape: Shape, dtype: DType) -> Tensor:
        return xp.full(shape, float(self.value), dtype)
