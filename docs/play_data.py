"""What the page to play with shares with the package.

`python docs/tables.py` writes it to `docs/site/play/package.js`.

The page evaluates the rules of `diagnose` by itself. Their bounds and texts come from here:
each rule runs on measurements whose names and numbers show as slots, such as `{first.std:.3g}`,
which the page fills.
"""

import json
import math
from types import SimpleNamespace

from keras_initx.diagnostics import GradientReport, LayerReport, WeightReport
from keras_initx.diagnostics._measurements import (
    FlowReport,
    InputReport,
    Measurements,
    OutputReport,
)
from keras_initx.diagnostics._remedy import (
    drawn_or_scaled,
    remedy_in_depth,
    suitable,
    suitable_in_depth,
)
from keras_initx.diagnostics._verdict import EXPLODING
from keras_initx.diagnostics.verdicts import RULES, first_loss, gradients, likeness, signals
from keras_initx.initializers._scale import gain_value
from keras_initx.structure._hooks import LIMITS

# The bounds of the rules of the page.
BOUNDS = {
    "vanishing": signals.VANISHING,
    "exploding": EXPLODING,
    "saturated": signals.SATURATED,
    "saturation_margin": signals.SATURATION_MARGIN,
    "dead": signals.DEAD,
    "saturated_output": first_loss.SATURATED_OUTPUT,
    "first_loss": first_loss.FIRST_LOSS,
    "inputs_differ": likeness.INPUTS_DIFFER,
    "vanishing_gradient": gradients.VANISHING_GRADIENT,
    "exploding_gradient": gradients.EXPLODING_GRADIENT,
}
# The activations of the page, and those for which `Orthogonal` and `Sparse` get a gain.
ACTIVATIONS = ("tanh", "relu", "sigmoid", "gelu")
WITH_GAIN = ("relu", "gelu")
KERNEL = WeightReport("kernel", "kernel", (9, 9), 0, 1, 0, 9, axes=((0,), (1,)), fan_in=9)
ZERO = WeightReport(
    "kernel", "kernel", (9, 9), 0, 0, 1, 0, axes=((0,), (1,)), constant=True, zero=True
)


class Slot(float):
    """A number that a text shows as a slot with the format of the number."""

    def __new__(cls, value, name):
        """Return `value` with the name of its slot."""
        slot = super().__new__(cls, value)
        slot.name = name
        return slot

    def __format__(self, spec):
        return f"{{{self.name}{':' if spec else ''}{spec}}}"


class MadeUp(LayerReport):
    """The measurements of a layer, of which these follow from nothing."""

    saturated = None
    dead = None


def layer(role, *, std=1.0, nonfinite=0.0, saturated=None, dead=None, weights=(), **measured):
    """Return the measurements of a layer whose name and numbers are slots."""

    def slot(name, value):
        return Slot(value, f"{role}.{name}") if isinstance(value, float) else value

    def record(kind, **names):
        given = {
            field: slot(name, measured[name]) for field, name in names.items() if name in measured
        }
        return kind(**given) if given else None

    signal = SimpleNamespace(
        size=1000,
        zeros=0,
        nonfinite=slot("nonfinite", nonfinite),
        std=slot("std", std),
        mean=slot("mean", 0.0),
    )
    made = MadeUp(
        f"{{{role}}}",
        "Dense",
        "{activation}",
        (Slot(100, "examples"), 9),
        before=signal,
        flow=FlowReport(loses_signal=measured.get("loses_signal", False)),
        inputs=record(InputReport, difference="inputs_differ"),
        output=record(OutputReport, certain="certain", loss="loss", blind_loss="blind_loss"),
        weights=list(weights),
    )
    if "gradient_norm" in measured:
        made.gradient = GradientReport(slot("gradient_norm", measured["gradient_norm"]), None)
    made.saturated = slot("saturated", saturated)
    made.dead = slot("dead", dead)
    return made


LAST = layer("last", inputs_differ=1e-9, certain=0.0)


def cases():
    """Yield each problem: its name, the condition of its text, and layers that have it."""
    yield "saturated output", "one", [layer("worst", certain=0.9)]
    yield "large first loss", "one", [layer("worst", std=99.0, loss=99.0, blind_loss=1.0)]
    yield "alike", "one", [layer("first", inputs_differ=1.0), LAST]
    constant = WeightReport(
        "kernel",
        "kernel",
        (9, 9),
        Slot(1, "first.weight"),
        0,
        0,
        0,
        axes=((0,), (1,)),
        constant=True,
    )
    for condition, roles in (("one", ("first",)), ("many", ("first", "middle", "last"))):

        def alike(roles=roles, **measured):
            return [layer(role, **measured) for role in roles]

        def worst(name, value, others, roles=roles):
            rest = [layer(role, **{name: others}) for role in roles[1:]]
            return [*rest, layer("worst", **{name: value})]

        yield "all-zero weights", f"error, {condition}", alike(weights=[ZERO], loses_signal=True)
        yield "all-zero weights", f"note, {condition}", alike(weights=[ZERO])
        yield "constant weights", condition, alike(weights=[constant])
        yield "exploding", f"finite, {condition}", alike(std=1e9)
        lost = layer("lost", nonfinite=0.5)
        yield (
            "exploding",
            f"lost, {condition}",
            [lost] if len(roles) == 1 else [*alike(std=1e9)[:1], lost, *alike(std=1e9)[-1:]],
        )
        yield "saturated", condition, worst("saturated", 0.9, 0.5)
        yield "dead units", f"some, {condition}", worst("dead", 0.9, 0.8)
        yield "dead units", f"all, {condition}", worst("dead", 1.0, 0.8)
        yield "vanishing", f"warning, {condition}", alike(std=1e-9, loses_signal=True)
        yield (
            "vanishing",
            f"error, {condition}",
            alike(std=1e-9, loses_signal=True, gradient_norm=0.0),
        )
        yield "vanishing", f"note, {condition}", alike(std=1e-9)
        strongest = layer("strongest", gradient_norm=1.0)
        yield "vanishing gradient", f"some, {condition}", [*alike(gradient_norm=1e-9), strongest]
        yield "vanishing gradient", f"all, {condition}", alike(gradient_norm=0.0)
        for size, norm in (("finite", 1e9), ("infinite", math.inf)):
            yield "exploding gradient", f"{size}, {condition}", alike(gradient_norm=norm)
            yield (
                "exploding gradient",
                f"{size} and lost, {condition}",
                alike(gradient_norm=norm, nonfinite=0.5),
            )


def remedies(activation):
    """Return what depends on the activation in remedies, of signals for few layers and for many."""

    def of_signals(depth):
        layers = [LayerReport("", "Dense", activation, weights=[KERNEL]) for _ in range(depth)]
        remedy = signals.signal_remedy(layers[-1:], None, Measurements(layers, None))
        return remedy.text

    one = LayerReport("", "Dense", activation, weights=[KERNEL])
    smaller = drawn_or_scaled(suitable_in_depth([one], activation), [], "smaller weights: ")
    return {
        "random": f"random weights: {suitable(one, KERNEL).text}",
        "signals": [of_signals(9), of_signals(10)],
        "gradients": remedy_in_depth([one], [one]).text,
        "smaller": smaller.text,
    }


def texts():
    """Return level, evidence and remedy of each case."""
    rules = {rule.problem: rule for rule in RULES}
    inputs = SimpleNamespace(mean=0.0, std=Slot(1, "inputs.std"), nonfinite=0)
    # Of an activation without a suggestion of its own, as is that of the layers here.
    general = remedies(None)
    general["signals"] = general["signals"][0]
    found = {}
    for problem, condition, layers in cases():
        (verdict,) = rules[problem].verdicts(Measurements(layers, inputs))
        slots = {
            ", ".join(f"{name}/kernel" for name in verdict.layers): "{weights}",
            f"({len(verdict.layers)} layers)": "({count} layers)",
            **{text: f"{{{name}}}" for name, text in general.items()},
        }
        text = [verdict.level, verdict.evidence, verdict.remedy.text]
        for part, slot in slots.items():
            text = [item.replace(part, slot) for item in text]
        found[f"{problem}: {condition}"] = text
    return found


def script():
    """Return the file that the page reads."""
    content = {
        "thresholds": BOUNDS,
        "limits": {name: LIMITS.get(name) for name in ACTIVATIONS},
        "gains": {name: gain_value(name) for name in WITH_GAIN},
        "remedies": {name: remedies(name) for name in ACTIVATIONS},
        "texts": texts(),
    }
    return (
        "// Written by `python docs/tables.py`, which runs the rules of `diagnose`. Not to be "
        "edited.\n"
        f"const PACKAGE = {json.dumps(content, indent=1)};\n"
    )
