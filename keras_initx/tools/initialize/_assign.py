"""Change the values of variables: distributed as before, all or none.

What layers compute from the values is changed with them.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import keras

from keras_initx._typing import Tensor
from keras_initx.backends._backend import Computation
from keras_initx.backends._current import backend
from keras_initx.inspection._former import Former


def made_like(variable: keras.Variable, computation: Computation) -> Tensor:
    """Return computed values, distributed over devices like the value of `variable`."""
    layout = backend.layout_of(variable.value)
    if layout is None:
        return computation.function()
    return backend.distributed(computation, tuple(variable.shape), layout)


def refresh_normalizations(layers: Iterable[keras.Layer]) -> None:
    """Let each `Normalization` of `layers` compute with its weights.

    It makes tensors of them, which it keeps.
    """
    for layer in dict.fromkeys(layers):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def assign(values: Iterable[tuple[keras.Variable, Tensor]]) -> None:
    """Assign a value to each variable."""
    for variable, value in values:
        variable.assign(value)


@contextlib.contextmanager
def undo_after_error(atomic: bool = True) -> Iterator[Callable[[keras.Variable, Tensor], None]]:
    """Yield a function that assigns a value to a variable, and undo that after an exception.

    An interruption (Ctrl-C) is such an exception, and a second one does not end the undoing. Former
    values are kept until the end of the context, next to the new ones. The parts of a variable that
    other processes hold are theirs to undo.

    Args:
        atomic: If false, nothing is kept or undone, and a note of the exception says what has been
            assigned.
    """
    former = Former()
    paths: list[str] = []

    def assign_one(variable: keras.Variable, value: Tensor) -> None:
        if atomic:
            former.add(variable)
        variable.assign(value)
        if not atomic:
            backend.wait(variable.value)
        paths.append(variable.path)

    try:
        yield assign_one
    except BaseException as error:
        if paths and not atomic:
            error.add_note(
                f"{len(paths)} variables have new values, the last of them {paths[-1]!r}"
            )
        former.put_back()
        raise
