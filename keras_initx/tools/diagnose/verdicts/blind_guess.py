"""A loss that stays at a guess by the shares of the labels, in training or after some steps."""

from collections.abc import Iterator

from keras_initx._checks import summarize_names
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose._steps import BETTER_THAN_GUESS, TrainedSteps, steps_taken
from keras_initx.tools.diagnose.losses.probes import LossProbe

_WARM_UP = "a schedule with `warmup_steps`"
_CHECK_LABELS = "then check that each label belongs to its input"


@rule(
    "blind guess",
    # These give a reason.
    unless=["no gradient:error", "diverging steps:note"],
    reads_loss=True,
)
def blind_guess(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report a loss that is no better than a guess by the shares of the labels.

    Reported if:
        A crossentropy is above {BETTER_THAN_GUESS:g} times the loss of a guess by the shares of the
        labels:

        - in the later half of {LEAST_STEPS} `steps` or more, or
        - in a report of `SignalMonitor`, after the first epoch and {LEAST_STEPS} steps.

    Level:
        note

    Why:
        The network has learned how frequent labels are, and nothing from the inputs.

    Typical causes:
        - a rate that is too large. It throws a transformer there in its first steps, and the
          transformer does not recover (Xiong and others, 2020).
        - labels that do not belong to their inputs, for example if you shuffled only one of the two

    Fix:
        - Use the rate that lowers the loss most among the rates that `steps` tries.
        - Add a warm-up.
        - Check that each label belongs to its input.
    """
    taken = steps_taken(diagnosis)
    if taken is not None and taken.is_guess:
        yield Finding([], _describe_steps(taken), _propose_rate(taken), "note")
    if not diagnosis.is_trained:
        return
    guesses = {head.layer: head.loss_of_shares for head in diagnosis.probe(LossProbe).heads}
    for layer in layers:
        guess, loss = guesses.get(layer.layer), layer.output.loss
        if loss is None or guess is None or loss <= BETTER_THAN_GUESS * guess:
            continue
        evidence = f"{layer.title} has a loss of {loss:.3g}; {_describe_guess(guess)}"
        remedy = Remedy(
            f"use a tenth of the rate, or {_WARM_UP}; {_CHECK_LABELS}. "
            "`diagnose(..., steps=50)` tries rates"
        )
        yield Finding([layer], evidence, remedy, "note")


def _describe_guess(guess: float) -> str:
    return (
        f"a guess by the shares of the labels would cost {guess:.3g}. The network is no better "
        "than this guess"
    )


def _describe_steps(taken: TrainedSteps) -> str:
    steps = f"{len(taken.losses) - 1} steps {taken.with_optimizer}"
    return f"the loss is {taken.lowest:.3g} after {steps}; {_describe_guess(taken.guess or 0.0)}"


def _propose_rate(taken: TrainedSteps) -> Remedy:
    """Propose the best tried rate, or a check of other reasons."""
    if taken.better_rate is not None:
        optimizer = f"keras.optimizers.{taken.optimizer}({taken.better_rate:g})"
        return Remedy(f"use {optimizer} with its other arguments unchanged, or {_WARM_UP}")
    if not taken.tried:
        return Remedy(f"use another rate, or {_WARM_UP}; {_CHECK_LABELS}")
    rates = summarize_names([f"{rate:g}" for rate in taken.tried], shown=len(taken.tried))
    return Remedy(f"use {_WARM_UP}, because rates of {rates} are no better; {_CHECK_LABELS}")
