"""Turn dropout off for a while, and find the calls that draw random numbers.

The first step is taken with all rates of dropout at 0, because no two frameworks draw the same
numbers. Other draws have no rate. A model that makes them is called twice, from other states of the
random generators: a call draws if its outputs differ and its inputs do not.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_initx._checks import truncate
from keras_initx._keras import generator_states, list_layers
from keras_initx.backends._current import backend
from keras_initx.inspection._former_values import preserve_variables
from keras_initx.inspection._hooks import HOOKS, replace_attribute
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._torch_modules import is_dropout
from keras_initx.tools.compare_outputs._pairs import pair_tensors
from keras_initx.tools.compare_outputs._recorded import CallKey, RecordedCall, record_calls


def read_rates(paths: Mapping[Any, str]) -> dict[str, float]:
    """Read the rates of dropout of layers and modules, also those that are 0.

    Args:
        paths: Dict from layers of Keras or modules of torch to their paths.

    Returns:
        Dict from paths to rates: `{"drop/rate": 0.5, "rnn/lstm_cell/recurrent_dropout": 0.0}`.
    """
    rates = {}
    for operation, path in paths.items():
        for name in _list_rate_names(operation):
            word = "rate" if name == "p" else name  # the word of Keras
            rates[f"{path}/{word}"] = float(vars(operation)[name])
    return rates


@contextlib.contextmanager
def dropout_off(operations: Sequence[Any]) -> Iterator[None]:
    """Set the rates of dropout of layers and modules to 0 for the duration of the block."""
    with HOOKS, backend.untraced(), contextlib.ExitStack() as stack:
        for operation in operations:
            for name in _list_rate_names(operation):
                stack.enter_context(replace_attribute(operation, name, 0.0))
        yield


def _list_rate_names(operation: Any) -> list[str]:
    """List the attributes of a layer or a module that are its rates of dropout."""
    names: tuple[str, ...] = ()
    kinds = keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.AlphaDropout
    if isinstance(operation, kinds):
        names = ("rate",)
    elif isinstance(operation, keras.layers.Attention):
        names = ("dropout",)
    elif hasattr(operation, "get_dropout_mask"):  # a cell of an LSTM, a GRU and their kind
        names = ("dropout", "recurrent_dropout")
    elif "torch" in sys.modules:
        nn = sys.modules["torch"].nn
        if is_dropout(operation):
            names = ("p",)
        elif isinstance(operation, nn.MultiheadAttention | nn.RNNBase):
            names = ("dropout",)
    attributes = vars(operation)
    return [name for name in names if isinstance(attributes.get(name), int | float)]


def advance_generators(states: Sequence[keras.Variable]) -> None:
    """Bring the global random generators, and those with these states, into other states."""
    backend.advance_generators()
    for state in states:
        state.assign(keras.ops.add(state.value, 1))


def record_twice(
    inventory: Inventory, x: Any, *, training: bool
) -> tuple[list[RecordedCall], list[RecordedCall]]:
    """Record two passes of a model, from other states of all random generators.

    Afterward all generators are as before.
    """
    states = generator_states(list_layers(inventory.model))
    with HOOKS, backend.full_precision(), backend.globals_preserved(), preserve_variables(states):
        first = record_calls(inventory, x, training=training)
        advance_generators(states)
        return first, record_calls(inventory, x, training=training)


def find_random_calls(
    calls: Sequence[RecordedCall], others: Sequence[RecordedCall]
) -> list[CallKey]:
    """Find the calls whose outputs differ between two passes of one model."""
    keys = []
    for call, other in zip(calls, others, strict=False):
        if any(pair.differs for pair in pair_tensors(call.outputs, other.outputs, None)):
            keys.append(call.key)
    return keys


def name_drawing_calls(calls: Sequence[RecordedCall], others: Sequence[RecordedCall]) -> str:
    """Name the calls that draw: they are random with equal inputs, and so is no call inside.

    Returns:
        Text such as `" in noise"`, empty if two passes show no such call.
    """
    random = set(find_random_calls(calls, others))
    drawing: list[int] = []
    names = []
    for index, (call, other) in enumerate(zip(calls, others, strict=False)):
        inputs = pair_tensors(call.inputs, other.inputs, None)
        is_inside = any(call.begin <= inner < index for inner in drawing)
        if call.key in random and not is_inside and not any(pair.differs for pair in inputs):
            drawing.append(index)
            names.append(str(call.key))
    return f" in {truncate(names)}" if names else ""
