"""One call of a model with symbolic tensors, as a tree of the calls that it makes.

No data is needed, nothing is computed, and the model stays as it is. Branches, gates, attention and
orders of rows are read from this tree. Where a layer with weights gets a weight or a constant, as
learned queries, it gets a symbolic tensor in its place, so that what is computed from it is seen.
"""

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from keras_initx._keras import follow_calls, is_from_applications, is_from_keras
from keras_initx.backends._current import backend
from keras_initx.inspection._hooks import HOOKS
from keras_initx.inspection._kernels import multiplies_by_kernel, normalizes
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._operations import SAME, get_kind

# In place of a length that is not known, where an operation needs one: of usual texts, of a short
# table of positions, of images that are cut into patches, and of sounds.
_LENGTHS = (None, 8, 2, 64, 2048)


@dataclass(frozen=True, eq=False)
class SymbolicCall:
    """A call of a layer, an operation or a model with symbolic tensors.

    Attributes:
        operation: The layer, operation or model.
        args: Its arguments by position.
        options: Its arguments by keyword.
        outputs: What it returned; `None` for a model that raised an error.
        inside: The calls in it, in their order. `None` if it was not followed.
        problem: Why it could not be followed to its end, or an empty text.
        begins: The symbolic tensors in place of weights and constants, each with what it stands
            for. Only the call of the model has them.
        loops: Operations that call functions with layers, any number of times, each with the reason
            why they cannot be followed. Only the call of the model has them.
    """

    operation: keras.Operation
    args: tuple[Any, ...]
    options: dict[str, Any]
    outputs: Any
    inside: list["SymbolicCall"] | None = None
    problem: str = ""
    begins: list[tuple[keras.KerasTensor, Any]] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)

    @property
    def given(self) -> list[Any]:
        """All arguments, also those in lists and dicts."""
        given: list[Any] = keras.tree.flatten((self.args, self.options))
        return given

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        """The symbolic tensors among the arguments."""
        return _symbolic(self.given)

    @property
    def made(self) -> list[keras.KerasTensor]:
        """The symbolic tensors among the outputs."""
        return _symbolic(keras.tree.flatten(self.outputs))

    def meant(self, values: Sequence[Any]) -> list[Any]:
        """Return values, weights and constants for the symbolic tensors in place of them."""
        begins = {id(symbol): value for symbol, value in self.begins}
        return [begins.get(id(value), value) for value in values]


def record_calls(
    model: keras.Model, values: Sequence[tuple[keras.Variable, Any]] = ()
) -> SymbolicCall:
    """Return the call of a built model with two symbolic examples, and the calls in it.

    The layers of Keras are taken as they are; the `call` of other layers and of models is followed.
    Of several lengths for those that are not known, it is the first with which the least cannot be
    followed.

    Args:
        model: A built model.
        values: Other values of weights during the call.
    """
    tried = []
    for length in _LENGTHS:
        root = _Recorder(model, values).record(length)
        problems = _problems_with_kernels(root)
        if not problems:
            return root
        tried.append((problems, root))
    _, root = min(tried, key=lambda one: one[0])
    return root


def _problems_with_kernels(root: SymbolicCall) -> int:
    """Return how many layers with kernels could not be followed; a model counts most."""
    count = 1000 if root.problem else 0
    for call in root.inside or ():
        if call.problem and multiplies_by_kernel(call.operation):
            count += 1
        if not call.problem:
            count += _problems_with_kernels(call)
    return count


class _Recorder:
    """Records the calls that a model makes.

    Args:
        model: A built model.
        values: See `record_calls`.
    """

    def __init__(self, model: keras.Model, values: Sequence[tuple[keras.Variable, Any]]) -> None:
        self._model = model
        self._values = values
        self._calls: list[SymbolicCall] = []  # in what is followed at the moment
        self._begins: list[tuple[keras.KerasTensor, Any]] = []
        self._loops: list[str] = []
        self._is_specifying = False  # whether Keras calls layers with tensors of the backend
        self._has_called = False  # whether a layer with weights was called, since this was last set

    def record(self, length: int | None) -> SymbolicCall:
        """Return the call of the model.

        Args:
            length: What to take for lengths that are not known.
        """
        args: list[Any] = []
        options: dict[str, Any] = {}
        layers = [self._model, *list_sublayers(self._model)]
        with _symbolic_calls(layers, self._follow, self._is_begin) as scope:
            for variable, value in self._values:
                scope.add_update((variable, value))
            try:
                args, options = symbolic_inputs(self._model, length)
                self._model(*args, **options)
            except Exception as error:  # whatever a model of a user raises
                problem = _in_words(error)
                root = SymbolicCall(self._model, tuple(args), options, None, self._calls, problem)
                self._calls = [root]
        (root,) = self._calls
        return replace(root, begins=self._begins, loops=self._loops)

    def _is_begin(self, layer: keras.Layer, args: Any, options: Any) -> bool:
        """Return whether a layer that gets no symbolic tensors gets some in place of others."""
        self._has_called |= bool(layer.weights)
        if self._is_specifying or not layer.weights:
            return False
        return any(map(_may_begin, keras.tree.flatten((args, options))))

    def _with_symbols(self, operation: keras.Operation, args: Any, options: Any) -> Any:
        """Return the arguments of a call with symbolic tensors in place of weights and constants.

        A layer with weights gets a new one, an operation one that there is already: a table that
        is only added to a tensor stays what it is.
        """
        is_new = isinstance(operation, keras.Layer) and bool(operation.weights)

        def symbol(value: Any) -> Any:
            if not _may_begin(value):
                return value
            for known, other in self._begins:
                if other is value:
                    return known
            if not is_new:
                return value
            dtype = keras.backend.standardize_dtype(value.dtype)
            made = keras.KerasTensor(tuple(value.shape), dtype)
            self._begins.append((made, value))
            return made

        return keras.tree.map_structure(symbol, (args, options))

    def _follow(self, operation: keras.Operation, args: Any, options: Any) -> Any:
        """Make a call, and note it."""
        problem = ""
        if isinstance(operation, keras.Layer):
            self._has_called |= bool(operation.weights)
        elif _functions_in(operation, args, options):
            return self._follow_control(operation, args, options)
        if not self._is_specifying:
            args, options = self._with_symbols(operation, args, options)
        if isinstance(operation, keras.Layer):
            options = _taken_options(operation, options)
            if operation is self._model and not self._calls:
                return self._follow_model(args, options)
            if is_followed(operation) or _calls_others(operation):
                calls, self._calls = self._calls, []
                try:
                    outputs = operation.call(*args, **options)
                    calls.append(SymbolicCall(operation, args, options, outputs, self._calls))
                    return outputs
                except Exception as error:  # it calls what knows no symbolic tensors
                    problem = _in_words(error)
                finally:
                    self._calls = calls
        if _returns_the_same(operation):
            return args[0]
        if isinstance(operation, keras.layers.TimeDistributed | keras.layers.SpectralNormalization):
            return self._follow_wrapper(operation, args, options)
        outputs = self._specified(operation, args, options)
        self._calls.append(SymbolicCall(operation, args, options, outputs, None, problem))
        return outputs

    def _follow_control(self, operation: keras.Operation, args: Any, options: Any) -> Any:
        """Make the call of an operation that calls functions of the user, as `fori_loop` does.

        How often it calls what is in them is not known, so they may have no layers with weights.
        """
        calls, self._calls = self._calls, []
        before, self._has_called = self._has_called, False
        problem = ""
        try:
            outputs = self._specified(operation, args, options)
            problem = self._problem_in_body(operation, args)
        except Exception as error:
            problem = f"{get_kind(operation)}, {_in_words(error)}"
            raise
        finally:
            self._calls = calls
            self._has_called |= before
            self._loops += [problem] if problem else []
        self._calls.append(SymbolicCall(operation, args, options, outputs, None, problem))
        return outputs

    def _problem_in_body(self, operation: Any, args: Any) -> str:
        """Return why it is not known what a loop or another operation with functions does.

        It may be empty. Keras has not called a body of which the outputs are like the inputs.
        """
        name = get_kind(operation)
        try:
            if hasattr(operation, "body_fun"):
                operation.body_fun(keras.KerasTensor((), "int32"), *args)
            elif hasattr(operation, "body"):
                operation.body(*keras.tree.flatten(args))
        except Exception as error:  # whatever a function of a user raises
            return f"{name}, {_in_words(error)}"
        return f"{name} calls layers with weights" if self._has_called else ""

    def _specified(self, operation: keras.Operation, args: Any, options: Any) -> Any:
        """Return the symbolic outputs of a call that is not followed."""
        before, self._is_specifying = self._is_specifying, True
        try:
            return _with_lengths(operation, args, options)
        finally:
            self._is_specifying = before

    def _follow_model(self, args: Any, options: Any) -> Any:
        """Make the call of the model. An error leaves the calls before it."""
        outputs = self._model.call(*args, **options)
        self._calls = [SymbolicCall(self._model, args, options, outputs, self._calls)]
        return outputs

    def _follow_wrapper(self, layer: keras.layers.Wrapper, args: Any, options: Any) -> Any:
        """Make the call of a layer of Keras around another, and the call of the other."""
        calls, self._calls = self._calls, []
        try:
            if isinstance(layer, keras.layers.TimeDistributed):
                whole = args[0]
                step = keras.KerasTensor((whole.shape[0], *whole.shape[2:]), whole.dtype)
                self._follow(layer.layer, (step,), {})
                outputs = self._specified(layer, args, options)
            else:
                outputs = self._follow(layer.layer, (args[0],), {})
            calls.append(SymbolicCall(layer, args, options, outputs, self._calls))
        finally:
            self._calls = calls
        return outputs


def _symbolic(values: Sequence[Any]) -> list[keras.KerasTensor]:
    return [value for value in values if isinstance(value, keras.KerasTensor)]


def _functions_in(operation: keras.Operation, args: Any, options: Any) -> bool:
    """Return whether an operation gets functions that it calls."""
    own = (value for name, value in vars(operation).items() if not name.startswith("_"))
    given = [*own, *keras.tree.flatten((args, options))]
    return any(callable(value) and not isinstance(value, type) for value in given)


def _may_begin(value: Any) -> bool:
    """Return whether a value is a weight or a constant with rows of floats."""
    if isinstance(value, keras.KerasTensor):
        return False
    is_array = isinstance(value, keras.Variable) or keras.ops.is_tensor(value)
    if not is_array or len(value.shape) < 2:
        return False
    return bool(keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype)))


def _in_words(error: Exception) -> str:
    """Return the class of an error and the first line of its text."""
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}"


@contextlib.contextmanager
def _symbolic_calls(
    layers: Sequence[keras.Layer],
    follow: Callable[[keras.Operation, Any, Any], Any],
    begins: Callable[[keras.Layer, Any, Any], bool],
) -> Iterator[keras.StatelessScope]:
    """Have `follow` make the calls with symbolic tensors, and yield the scope of variables.

    Args:
        layers: A model and all layers in it.
        follow: See `follow_calls`.
        begins: See there.
    """
    attributes = [dict(vars(layer)) for layer in layers]
    with (
        warnings.catch_warnings(),
        HOOKS,
        backend.preserve_state(layers) as scope,
        follow_calls(follow, begins),
    ):
        warnings.simplefilter("ignore")  # nobody has called the model
        try:
            yield scope
        finally:
            for layer, before in zip(layers, attributes, strict=True):
                _put_back(layer, before)


def symbolic_inputs(model: keras.Model, length: int | None) -> tuple[list[Any], dict[str, Any]]:
    """Return symbolic tensors of two examples, as the model takes them.

    Args:
        model: A built model.
        length: What to take for lengths that are not known.
    """

    def tensor(shape: Any, dtype: str = "float32") -> Any:
        lengths = [length if one is None else one for one in shape[1:]]
        return keras.KerasTensor((2, *lengths), dtype=dtype)

    inputs = getattr(model, "inputs", None)
    if inputs:
        if len(inputs) == 1:
            return [tensor(inputs[0].shape, inputs[0].dtype)], {}
        as_taken = model.input
        return [keras.tree.map_structure(lambda one: tensor(one.shape, one.dtype), as_taken)], {}
    config: Any = model.get_build_config()
    if "input_shape" in config:
        return [keras.tree.map_shape_structure(tensor, config["input_shape"])], {}
    options = {}
    for name, shape in config["shapes_dict"].items():
        options[name.removesuffix("_shape")] = keras.tree.map_shape_structure(tensor, shape)
    return [], options


def _returns_the_same(operation: keras.Operation) -> bool:
    """Return whether an operation returns what it gets, in another form."""
    return get_kind(operation) in SAME


def is_followed(layer: keras.Layer) -> bool:
    """Return whether a layer is a model, or one of a user that is no kind of a layer of Keras."""
    if isinstance(layer, keras.Model):
        return True
    own = [kind for kind in type(layer).__mro__ if kind not in keras.Layer.__mro__]
    return not any(map(is_from_keras, own)) and not normalizes(layer)


def _calls_others(layer: keras.Layer) -> bool:
    """Return whether the `call` of a layer is a function of a user, calls one, or has operations.

    Those of built-in models are of the last kind.
    """
    if is_from_applications(type(layer)):
        return True
    if isinstance(layer, keras.layers.Wrapper):
        return not is_from_keras(type(layer).call)
    return isinstance(layer, keras.layers.Lambda)


def _taken_options(layer: keras.Layer, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call as Keras passes them: with `training` if it is taken."""
    parameters = inspect.signature(layer.call).parameters
    training = parameters.get("training")
    if training is None:
        return {name: value for name, value in options.items() if name != "training"}
    if training.default is training.empty:
        return {"training": False, **options}
    return options


def _put_back(layer: keras.Layer, attributes: dict[str, Any]) -> None:
    """Give a layer the attributes that it had, where its `call` has set one."""
    present = vars(layer)
    for name in list(present):
        if name not in attributes:
            del present[name]
        elif present[name] is not attributes[name]:
            present[name] = attributes[name]


def _with_lengths(operation: Any, args: Any, options: Any) -> Any:
    """Return the symbolic outputs of a call, with the lengths that a layer leaves out.

    Such as `EinsumDense`, which takes them from its argument `output_shape`.
    """
    if _specifies_another_call(operation):
        args, options = keras.tree.map_structure(_unless_variable, (args, options))
        return keras.Operation.compute_output_spec(operation, *args, **options)
    outputs = operation.compute_output_spec(*args, **options)
    if not _lacks_lengths(outputs) or _lacks_lengths((args, options)):
        return outputs

    def as_weights(value: Any) -> Any:  # the cast to 16 bits is outside of `call`
        if isinstance(value, keras.KerasTensor) and keras.backend.is_float_dtype(value.dtype):
            return keras.KerasTensor(value.shape, operation.variable_dtype)
        return value

    args, options = keras.tree.map_structure(as_weights, (args, options))
    try:
        computed = keras.Operation.compute_output_spec(operation, *args, **options)
    except Exception:  # whatever the `call` of a user's layer raises
        return outputs
    return keras.tree.map_structure(
        lambda output, known: keras.KerasTensor(known.shape, output.dtype), outputs, computed
    )


def _unless_variable(value: Any) -> Any:
    """Return a value, or a symbolic tensor for a variable, which JAX does not trace."""
    if isinstance(value, keras.Variable):
        return keras.KerasTensor(value.shape, value.dtype)
    return value


def _specifies_another_call(operation: keras.Operation) -> bool:
    """Return whether the specification of outputs is that of a layer of Keras with another `call`.

    As in the attention of KerasHub, which takes arguments that Keras' does not.
    """
    kind = type(operation)
    specification = kind.compute_output_spec
    is_of_layer = specification in (
        keras.Operation.compute_output_spec,
        keras.Layer.compute_output_spec,
    )
    return not is_of_layer and is_from_keras(specification) and not is_from_keras(kind.call)


def _lacks_lengths(values: Any) -> bool:
    """Return whether a length of a symbolic tensor is not known."""
    tensors = [one for one in keras.tree.flatten(values) if isinstance(one, keras.KerasTensor)]
    return any(None in tensor.shape for tensor in tensors)
