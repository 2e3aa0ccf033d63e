"""A loss that stays at a guess by the shares of the labels, in training or after some steps."""

from collections.abc import Iterator

from keras_initx._checks import summarize_names
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose._seen import SeenLayer
from keras_initx.tools.diagnose._steps import BETTER_THAN_GUESS, TrainedSteps, steps_taken
from keras_initx.tools.diagnose.losses.probes import LossProbe

_WARM_UP = "a schedule with `warmup_steps`"
_THEN = "then look whether labels belong to their inputs"


@rule(
    "blind guess",
    # These give a reason.
    unless=["no gradient:error", "diverging steps:note"],
)
def blind_guess(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report a loss that is no better than that of a guess by the shares of the labels.

    Finds:
        a crossentropy that is above {BETTER_THAN_GUESS:g} times that of a guess by the shares of
        the labels: in the later half of {LEAST_STEPS} `steps` or more, or in a report of
        `SignalMonitor` after the first epoch and {LEAST_STEPS} steps

    Why:
        the network has learned how frequent labels are, and nothing of the inputs. A rate that is
        too large throws a transformer there in its first steps, and nothing brings it back (Xiong
        and others, 2020); labels that do not belong to their inputs give the same loss

    Level:
        note

    Remedy:
        the rate that lowers the loss most, of those that `steps` tries; a warm-up; labels that
        belong to their inputs
    """
    taken = steps_taken(of)
    if taken is not None and taken.is_guess:
        yield Finding([], _after(taken), _other_rate(taken), "note")
    if not of.is_trained:
        return
    guesses = {ends.layer: ends.loss_of_shares for ends in of.probe(LossProbe).ends}
    for layer in layers:
        guess, loss = guesses.get(layer.layer), layer.output.loss
        if loss is None or guess is None or loss <= BETTER_THAN_GUESS * guess:
            continue
        evidence = f"the loss of {layer.title} is {loss:.3g}, {_guess_of(guess)}"
        remedy = Remedy(f"a tenth of the rate, or {_WARM_UP}; {_THEN}. `steps=50` tries rates")
        yield Finding([layer], evidence, remedy, "note")


def _guess_of(guess: float) -> str:
    return f"that of a guess by the shares of the labels {guess:.3g}"


def _after(taken: TrainedSteps) -> str:
    """Return what the steps have reached."""
    steps = f"{len(taken.losses) - 1} steps {taken.with_optimizer}"
    return f"after {steps} the loss is {taken.lowest:.3g}, {_guess_of(taken.guess or 0.0)}"


def _other_rate(taken: TrainedSteps) -> Remedy:
    """Return the remedy of a rate that was tried, or what else may be the reason."""
    if taken.better_rate is not None:
        text = f"keras.optimizers.{taken.optimizer}({taken.better_rate:g}) with its other arguments"
        return Remedy(f"{text} as they are, or {_WARM_UP}")
    if not taken.tried:
        return Remedy(f"another rate, or {_WARM_UP}; {_THEN}")
    rates = summarize_names([f"{rate:g}" for rate in taken.tried], shown=len(taken.tried))
    return Remedy(f"{_WARM_UP}, since rates of {rates} are no better; {_THEN}")
