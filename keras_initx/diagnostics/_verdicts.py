"""What a problem is, and where it begins."""

from dataclasses import dataclass

from keras_initx._checks import check_number


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
        exploding_gradient: Norm of a layer's gradient above which a step of any usual length goes astray.
            Batch normalization makes it grow with depth: a ResNet-50 begins at a thousand, and trains.
        saturated: Share of saturated outputs above which an activation passes on too little. An input of
            standard deviation 1 saturates 1% of tanh, one of 2.3 a quarter.
        saturation_margin: How near a limit an output counts as saturated, as a share of the distance between
            the limits: beyond 0.99 for tanh, where 2% of the slope is left.
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
        least_values: Number of values that a signal must have to be judged, and of examples to call units dead.

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

    def __post_init__(self):
        for name, value in vars(self).items():
            check_number(name, value, positive=True)


# What a verdict means for training, the most serious first.
LEVELS = ("error", "warning", "note")


@dataclass(frozen=True)
class Verdict:
    """Something that was found.

    Attributes:
        problem: What it is: `"vanishing"`.
        layers: Names of the layers that have it.
        evidence: What has been measured.
        remedy: What to use instead.
        level: What it means for training. `"error"`: part of the model does not learn, or numbers overflow.
            `"warning"`: it learns slowly, from fewer units, or not as meant. `"note"`: nothing, or what is meant.
    """

    problem: str
    layers: tuple[str, ...]
    evidence: str
    remedy: str
    level: str = "warning"
