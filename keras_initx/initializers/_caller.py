"""Find the layer that asks for its weights.

Keras hands an initializer a shape and nothing else. That is not enough for the bias of an LSTM:
with `unit_forget_bias=True` Keras asks for `(u,)` and `(2u,)`, with `False` for `(4u,)`, and 8 may
be any of these. Remembering earlier calls would make one initializer's values depend on the
others', so we look who is asking instead: the layer is a few frames up the stack.
"""

import inspect

import keras


def asking_layers():
    """Yield the layers on the call stack, the innermost first, each once."""
    frame = inspect.currentframe()
    seen: list[keras.Layer] = []
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.Layer) and all(owner is not layer for layer in seen):
            seen.append(owner)
            yield owner
        frame = frame.f_back


def layer_using(initializer):
    """Return the layer on the call stack that holds `initializer`, or `None` if called by hand."""
    for layer in asking_layers():
        if any(value is initializer for value in vars(layer).values()):
            return layer
    return None
