"""The problems in a report, their levels, and the thresholds of the rules that find them."""

import shutil
import textwrap
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias, TypedDict, get_args

from keras_initx._checks import check_number

__all__ = ["ThresholdOptions", "Thresholds", "Verdict"]

Level: TypeAlias = Literal["error", "warning", "note"]
# The most serious level first.
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Verdict:
    """A problem in a report, which prints as it does there.

    Attributes:
        problem: Name of the problem, e.g. `"vanishing"`.
        layers: Names of the affected layers.
        evidence: The measurements that show it.
        remedy: What to use instead.
        level: Its effect on training. `"error"`: part of the model does not learn, or numbers
            overflow. `"warning"`: the model learns slowly, with fewer units, or not as intended.
            `"note"`: harmless, or usually intended.
    """

    problem: str
    layers: tuple[str, ...]
    evidence: str
    remedy: str
    level: Level = "warning"

    def paragraphs(self) -> list[tuple[str, str]]:
        """Return the evidence and the remedy as sentences, each with its title."""
        return [
            (f"{self.problem} ({self.level})", f"{self.evidence}."),
            ("Remedy", f"{self.remedy}."),
        ]

    def __str__(self) -> str:
        width = shutil.get_terminal_size().columns
        lines = []
        for title, text in self.paragraphs():
            lines += textwrap.wrap(
                f"{title}: {text}", width, subsequent_indent="  ", break_on_hyphens=False
            )
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Thresholds of the rules of `diagnose`, which takes them as arguments.

    All are positive numbers. The guide on diagnosing a model says why they have these defaults.

    Args:
        vanishing: Standard deviation before the activation below which a signal has vanished.
        exploding: Standard deviation above which a signal has exploded.
        vanishing_gradient: Ratio of the gradient norm of the first layers to the largest gradient
            norm of a layer, below which the gradient has vanished.
        exploding_gradient: Gradient norm of a layer above which the gradient has exploded.
        saturated: Fraction of saturated outputs above which an activation passes too little
            gradient.
        saturation_margin: Distance from a limit within which an output counts as saturated, as a
            fraction of the distance between the limits. For tanh this means beyond 0.99.
        dead: Fraction of units with zero output for the whole batch above which too few are active.
        unscaled_inputs: Root mean square of the inputs of the first kernels, or of a single one in
            vectors, above which inputs are not scaled.
        saturated_output: Fraction of the examples above which the final softmax or sigmoid is
            saturated. An example counts if its output is within `saturation_margin` of 1, or of 0
            for a sigmoid. Saturation caused by a bias does not count: then the values before the
            activation vary between examples by less than half of what saturation takes.
        wrong_fan: Factor between the standard deviation of a depthwise or transposed kernel and the
            one that its initializer intends.
        shut_gate: Share of the state that forget or update gates keep in a step, below which they
            are shut.
        recurrent_gain: Factor by which a recurrent kernel without gates makes a state larger in a
            step, or one over that by which it makes it smaller, above which there is no memory over
            ten steps.
        attention_focus: Share of its weight that a query gives to a single key, on average, above
            which the softmax of attention passes little gradient.
        router_share: Share of its weight that a softmax inside the model gives to a single unit, on
            average over the batch, above which the other units are hardly used.
        steep_activation: Factor by which a kernel and its activation, a function that Keras does
            not have, make differences between examples larger, above which they give noise.
        examples_alike: Mean cosine between the normalized outputs for different examples above
            which they have become alike.
        positions_alike: The same between the positions of an example.
        inputs_differ: Standard deviation between examples of the inputs of the last layer, relative
            to their root mean square, below which they have become alike.
        first_loss: Factor between the loss of an output and that of a blind guess, or 1 if that is
            more, above which training first has to undo the initial weights.
        out_of_reach: Fraction of the targets beyond the range of the last activation above which a
            distance cannot become small.
        unscaled_targets: Factor between the standard deviation of the targets of a distance and
            that of the outputs, or 1 if that is more, above which the targets are not scaled.
        rare_class: Factor between the first loss and that of guessing the frequencies of the
            classes, above which a class is rare.
        large_step: Factor between what a step of SGD would lower the loss by, to first order, and
            the loss, above which the learning rate is too large.
        large_update: Product of the rate of Adam and the square root of the inputs of a unit, above
            which the learning rate is too large.
        least_values: Minimum number of values for a signal to be evaluated, and of examples for
            units to count as dead.

    Raises:
        TypeError: If a threshold has an unknown name or is not a number.
        ValueError: If it is not positive, or `saturation_margin` is not less than one half.
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
    shut_gate: float = 0.05
    recurrent_gain: float = 1.8
    attention_focus: float = 0.75
    router_share: float = 0.9
    steep_activation: float = 3
    examples_alike: float = 0.99
    positions_alike: float = 0.9999
    inputs_differ: float = 0.01
    first_loss: float = 8
    out_of_reach: float = 0.1
    unscaled_targets: float = 100
    rare_class: float = 3
    large_step: float = 20
    large_update: float = 3
    least_values: float = 16

    def __post_init__(self) -> None:
        for field in fields(self):
            check_number(field.name, getattr(self, field.name), positive=True)
        # Otherwise all outputs would be near a limit.
        if self.saturation_margin >= 0.5:
            raise ValueError(
                "`saturation_margin` must be less than 0.5. "
                f"Received: saturation_margin={self.saturation_margin!r}"
            )


class ThresholdOptions(TypedDict, total=False):
    """The fields of `Thresholds` as keyword arguments, for editors and type checkers.

    A test checks that they match.
    """

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
    shut_gate: float
    recurrent_gain: float
    attention_focus: float
    router_share: float
    steep_activation: float
    examples_alike: float
    positions_alike: float
    inputs_differ: float
    first_loss: float
    out_of_reach: float
    unscaled_targets: float
    rare_class: float
    large_step: float
    large_update: float
    least_values: float
