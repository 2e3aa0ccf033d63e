"""Remedies of recurrent layers: open gates, and recurrent kernels that keep a state."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from keras_initx._typing import InitializerLike
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._recurrent import GRUUpdateBias, LSTMForgetBias
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, MeasuredWeight
from keras_initx.tools.diagnose._recurrence import RECURRENT_GAIN, gates
from keras_initx.tools.diagnose._redrawing import make_choice, propose_redraw
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import exceeds


def propose_open_gates(diagnosis: Diagnosis, layers: Sequence[MeasuredLayer]) -> Remedy:
    """Propose to open the gates of `layers`, with the text for the first layer."""
    remedies = []
    rules: dict[str, InitializerLike] = {}
    for layer in layers:
        gate, _, biases = gates(diagnosis)[layer]
        if gate == "update":
            initializer = make_choice(GRUUpdateBias(1.0), 1.0)
            before = "bias_initializer="
        else:
            initializer = make_choice(LSTMForgetBias(1.0), 1.0)
            before = "unit_forget_bias=False with bias_initializer="
        remedy = propose_redraw([initializer], biases, f"use {before}")
        remedies.append(remedy)
        rules.update(remedy.rules)
    return replace(remedies[0], rules=rules)


def find_growing_kernels(
    layers: Iterable[MeasuredLayer], limit: float = RECURRENT_GAIN
) -> list[MeasuredWeight]:
    """Find the recurrent kernels of layers that make a state larger in each step."""
    growing: list[MeasuredWeight] = []
    for layer in layers:
        for kernel in layer.recurrent_kernels:
            if exceeds(kernel.report.gain, limit):
                growing.append(kernel)
    return growing


def propose_orthogonal_recurrence(kernels: Iterable[MeasuredWeight]) -> Remedy:
    """Propose to redraw recurrent kernels, with a block for each gate."""
    rules: dict[str, InitializerLike] = {}
    texts = []
    for kernel in kernels:
        *_, units, size = kernel.own.shape
        initializer, text = make_choice(Orthogonal(blocks=size // units))
        rules[kernel.path] = initializer
        texts.append(text)
    return Remedy(f"use recurrent_initializer={' and '.join(dict.fromkeys(texts))}", rules)
