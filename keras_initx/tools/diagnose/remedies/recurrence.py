"""Remedies of recurrent layers: open gates, and recurrent kernels that keep a state."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from keras_initx._typing import InitializerLike
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._recurrent import GRUUpdateBias, LSTMForgetBias
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._drawn_anew import choice, drawn
from keras_initx.tools.diagnose._recurrence import RECURRENT_GAIN, gates
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import exceeds
from keras_initx.tools.diagnose._seen import SeenLayer, SeenWeight


def open_gates(of: Diagnosis, layers: Sequence[SeenLayer]) -> Remedy:
    """Return a remedy that opens the gates of `layers`, with the text for those of the first."""
    opened = []
    rules: dict[str, InitializerLike] = {}
    for layer in layers:
        gate, _, biases = gates(of)[layer]
        if gate == "update":
            initializer = choice(GRUUpdateBias(1.0), 1.0)
            before = "bias_initializer="
        else:
            initializer = choice(LSTMForgetBias(1.0), 1.0)
            before = "unit_forget_bias=False with bias_initializer="
        remedy = drawn([initializer], biases, f"use {before}")
        opened.append(remedy)
        rules.update(remedy.rules)
    return replace(opened[0], rules=rules)


def growing_kernels(layers: Iterable[SeenLayer], limit: float = RECURRENT_GAIN) -> list[SeenWeight]:
    """Return the recurrent kernels of layers that make a state larger in each step."""
    found: list[SeenWeight] = []
    for layer in layers:
        for kernel in layer.recurrent_kernels:
            if exceeds(kernel.report.gain, limit):
                found.append(kernel)
    return found


def orthogonal_recurrence(kernels: Iterable[SeenWeight]) -> Remedy:
    """Return a remedy that draws recurrent kernels anew, the part of each gate by itself."""
    rules: dict[str, InitializerLike] = {}
    texts = []
    for kernel in kernels:
        *_, units, size = kernel.own.shape
        initializer, text = choice(Orthogonal(blocks=size // units))
        rules[kernel.path] = initializer
        texts.append(text)
    return Remedy(f"use recurrent_initializer={' and '.join(dict.fromkeys(texts))}", rules)
