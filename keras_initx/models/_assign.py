"""Change the values of variables: distributed as before, all or none, in all processes or in none.

What layers compute from the values is changed with them.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import replace

import keras
import numpy as np

from keras_initx._typing import Tensor
from keras_initx.backends import Computation, backend


def made_like(variable: keras.Variable, computation: Computation) -> Tensor:
    """Return computed values, distributed over devices like the value of `variable`."""
    layout = backend.layout_of(variable.value)
    if layout is None:
        return computation.function()
    if not computation.is_exact and backend.spans_processes(variable.value):
        # All make the values before the first sends its own.
        value = computation.function()
        computation = replace(computation, function=lambda: value)
    vote()
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


class _Agreement:
    """A change of a model by all processes that share it.

    Attributes:
        is_over: Whether all have agreed, or one has failed, so that there is no vote any more.
    """

    is_over = False


_AGREEMENT: ContextVar[_Agreement | None] = ContextVar("agreement", default=None)


@contextlib.contextmanager
def agreed(model: keras.Layer, *, changes: bool = True) -> Iterator[None]:
    """Run a block in which all processes that share `model` change it, or none does.

    A process whose block fails votes against the change. The others are at a vote then: they vote
    before they exchange anything else, and at the end of `undone_after_error`.

    Args:
        model: A model or layer.
        changes: Whether the block changes it. If not, there is no vote.
    """
    shares = any(backend.spans_processes(variable.value) for variable in model.variables)
    if not shares or not changes:
        yield
        return
    agreement = _Agreement()
    token = _AGREEMENT.set(agreement)
    try:
        yield
    except BaseException as error:
        if not agreement.is_over:
            try:
                backend.from_processes(np.zeros(1, "uint32"))
            except Exception as silence:  # each transport raises its own
                error.add_note(f"The other processes could not be told: {silence}")
        raise
    finally:
        _AGREEMENT.reset(token)


def vote() -> None:
    """Raise an error if a process that shares the model of the surrounding `agreed` has failed.

    All of them call this together.

    Raises:
        RuntimeError: If one has failed, or does not answer.
    """
    agreement = _AGREEMENT.get()
    if agreement is None:
        return
    try:
        votes = backend.from_processes(np.ones(1, "uint32"))
    except Exception as error:  # each transport raises its own
        agreement.is_over = True
        raise RuntimeError(
            "All processes must change their part of the model. One does not answer, so this one "
            f"does not: {error}"
        ) from error
    failed = [number for number, (yes,) in enumerate(votes.tolist()) if not yes]
    if failed:
        agreement.is_over = True
        raise RuntimeError(
            "All processes must change their part of the model. Another could not, so this one "
            f"does not: see the error of process {failed[0]}"
        )


@contextlib.contextmanager
def undone_after_error(atomic: bool = True) -> Iterator[Callable[[keras.Variable, Tensor], None]]:
    """Yield a function that assigns a value to a variable, and undo that after an exception.

    An interruption (Ctrl-C) is such an exception, and a second one does not end the undoing. Former
    values are kept until the end of the context, next to the new ones. There the processes of
    `agreed` vote.

    Args:
        atomic: If false, nothing is kept or undone, and a note of the exception says what has been
            assigned.
    """
    former: list[tuple[keras.Variable, Tensor]] = []
    paths: list[str] = []

    def assign_one(variable: keras.Variable, value: Tensor) -> None:
        if atomic:
            former.append((variable, backend.snapshot(variable.value)))
        variable.assign(value)
        if not atomic:
            backend.wait(variable.value)
        paths.append(variable.path)

    try:
        yield assign_one
        vote()
        agreement = _AGREEMENT.get()
        if agreement is not None:
            agreement.is_over = True
    except BaseException as error:
        if paths and not atomic:
            error.add_note(
                f"{len(paths)} variables have new values, the last of them {paths[-1]!r}"
            )
        while former:
            with contextlib.suppress(KeyboardInterrupt):
                assign(former[-1:])
                former.pop()
        raise
