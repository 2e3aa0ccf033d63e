"""Where a problem begins."""

import dataclasses
from dataclasses import dataclass
from typing import TypedDict, Unpack

from keras_initx._checks import check_number


class ThresholdOptions(TypedDict, total=False):
    """The fields of `Thresholds` as optional keyword arguments, for editors and type checkers; a test compares them."""

    vanishing: float
    exploding: float
    vanishing_gradient: float
    exploding_gradient: float
    saturated: float
    saturation_margin: float
    dead: float
    unscaled_inputs: float
    saturated_output: float
    wrong_fan: float
    least_values: float


@dataclass(frozen=True)
class Thresholds:
    """Where a problem begins. All are arguments of `diagnose`, positive numbers.

    Args:
        vanishing: Standard deviation of a signal below which it has vanished. Inputs and weights that are made
            for each other keep it near 1, and what is a thousand times smaller is lost beside a bias that
            has taken its first step.
        exploding: Standard deviation above which a signal has exploded: a thousand times more than inputs have,
            and enough for a softmax to be certain of anything.
        vanishing_gradient: The gradient of the first layers over the largest gradient of a layer, below which the
            first layers do not learn. One learning rate cannot serve both.
        exploding_gradient: Norm of a layer's gradient above which a step of any usual length diverges.
            Batch normalization makes it grow with depth: a ResNet-50 begins at a thousand, and trains.
        saturated: Share of saturated outputs above which an activation passes on too little. An input of
            standard deviation 1 saturates 1% of tanh, one of 2.3 a quarter.
        saturation_margin: How near a limit an output counts as saturated, as a share of the distance between
            the limits: beyond 0.99 for tanh, where 2% of the gradient is left.
        dead: Share of units silent for the whole batch above which too few take part. Symmetric weights
            silence half at most, and by chance some more: in a deep network the examples of a batch become
            alike, and a unit is then on or off for all of them.
        unscaled_inputs: Root mean square of what the first kernels get, above which inputs are not scaled. Of inputs
            with mean 0 and standard deviation 1 it is 1, of 8-bit images as they are read 150.
        saturated_output: Share of the examples of which the softmax or sigmoid at the end is certain, above which
            the outputs are saturated. It is certain of an example within `saturation_margin` of 1, for a sigmoid
            also of 0, unless a bias makes it so: the values before it then vary less between examples than half of
            what certainty takes.
        wrong_fan: Factor between the standard deviation of a depthwise or transposed kernel and the one that its
            initializer stands for. Small kernels are off by chance, but not by so much.
        least_values: Number of values that a signal must have to be evaluated, and of examples to call units dead.

    Raises:
        TypeError: If a threshold is not a number.
        ValueError: If it is not positive.
    """

    vanishing: float = 1e-3
    exploding: float = 1e3
    vanishing_gradient: float = 1e-4
    exploding_gradient: float = 1e5
    saturated: float = 0.25
    saturation_margin: float = 0.005
    dead: float = 0.75
    unscaled_inputs: float = 10
    saturated_output: float = 0.5
    wrong_fan: float = 1.5
    least_values: float = 16

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_number(name, value, positive=True)

    @classmethod
    def of(cls, **options: Unpack[ThresholdOptions]) -> "Thresholds":
        """Return the thresholds with these options, and a clear error for one that there is not.

        Raises:
            TypeError: If there is no threshold of a name, or one is not a number.
            ValueError: If a threshold is not positive.
        """
        names = tuple(field.name for field in dataclasses.fields(cls))
        unknown = sorted(options.keys() - set(names))
        if unknown:
            raise TypeError(f"`thresholds` must be among {names}. Received: thresholds={unknown}")
        return cls(**options)
