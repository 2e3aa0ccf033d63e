"""Record one call of a model with symbolic tensors, as a tree of the calls that it makes.

    SymbolicCall(model)                        inside: its calls
      SymbolicCall(block)                      inside: a user's layer, whose `call` is followed
        SymbolicCall(dense), SymbolicCall(add) inside=None: layers and operations of Keras
      SymbolicCall(other, problem="TypeError: ...")    a `call` that could not be followed

This needs no data, computes nothing, and leaves the model as it is. Other files read branches,
gates, attention and orders of rows from this tree. If a layer with weights gets a weight or a
constant, such as learned queries, it gets a symbolic tensor in its place, a *stand-in*. So the tree
also has the results that are computed from it.
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
        outputs: Its outputs; `None` for a model that raised an error.
        inside: The calls in it, in their order. `None` if it was not followed.
        problem: Why it could not be followed to its end, or an empty text.
        stand_ins: The symbolic tensors in place of weights and constants, each with the original.
            Only the call of the model has them.
        loops: Operations that call functions with layers, any number of times, each with the reason
            why they cannot be followed. Only the call of the model has them.
    """

    operation: keras.Operation
    args: tuple[Any, ...]
    options: dict[str, Any]
    outputs: Any
    inside: list["SymbolicCall"] | None = None
    problem: str = ""
    stand_ins: list[tuple[keras.KerasTensor, Any]] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> list[Any]:
        """All arguments, including the items of lists and dicts."""
        arguments: list[Any] = keras.tree.flatten((self.args, self.options))
        return arguments

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        """The symbolic tensors among the arguments."""
        return _select_symbols(self.arguments)

    @property
    def output_tensors(self) -> list[keras.KerasTensor]:
        """The symbolic tensors among the outputs."""
        return _select_symbols(keras.tree.flatten(self.outputs))

    def resolve(self, values: Sequence[Any]) -> list[Any]:
        """Replace the stand-ins among values by their originals."""
        values_by_id = {id(symbol): value for symbol, value in self.stand_ins}
        return [values_by_id.get(id(value), value) for value in values]


def record_calls(
    model: keras.Model, values: Sequence[tuple[keras.Variable, Any]] = ()
) -> SymbolicCall:
    """Record the call of a built model with two symbolic examples, and the calls in it.

    Calls of Keras' layers are not followed; the `call` of other layers and of models is. For
    unknown lengths several values are tried. The first value counts with which the fewest layers
    cannot be followed.

    Args:
        model: A built model.
        values: Values that replace the values of weights during the call.
    """
    attempts = []
    for length in _LENGTHS:
        root = _Recorder(model, values).record(length)
        problems = _count_problems(root)
        if not problems:
            return root
        attempts.append((problems, root))
    _, root = min(attempts, key=lambda attempt: attempt[0])
    return root


def _count_problems(root: SymbolicCall) -> int:
    # How many layers with kernels could not be followed. A model counts more than all of them.
    count = 1000 if root.problem else 0
    for call in root.inside or ():
        if call.problem and multiplies_by_kernel(call.operation):
            count += 1
        if not call.problem:
            count += _count_problems(call)
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
        self._calls: list[SymbolicCall] = []  # those inside the call that is being followed
        self._stand_ins: list[tuple[keras.KerasTensor, Any]] = []
        self._loops: list[str] = []
        self._is_specifying = False  # whether Keras calls layers with tensors of the backend
        self._has_called = False  # whether a layer with weights was called, since this was last set

    def record(self, length: int | None) -> SymbolicCall:
        """Call the model, and return the call with those inside of it.

        Args:
            length: The value for unknown lengths.
        """
        args: list[Any] = []
        options: dict[str, Any] = {}
        layers = [self._model, *list_sublayers(self._model)]
        with _symbolic_calls(layers, self._follow, self._needs_stand_ins) as scope:
            for variable, value in self._values:
                scope.add_update((variable, value))
            try:
                args, options = make_symbolic_inputs(self._model, length)
                self._model(*args, **options)
            except Exception as error:  # whatever a model of a user raises
                problem = _describe_error(error)
                root = SymbolicCall(self._model, tuple(args), options, None, self._calls, problem)
                self._calls = [root]
        (root,) = self._calls
        return replace(root, stand_ins=self._stand_ins, loops=self._loops)

    def _needs_stand_ins(self, layer: keras.Layer, args: Any, options: Any) -> bool:
        # Asked of a layer that gets no symbolic tensors.
        self._has_called |= bool(layer.weights)
        if self._is_specifying or not layer.weights:
            return False
        return any(map(_may_need_stand_in, keras.tree.flatten((args, options))))

    def _put_stand_ins(self, operation: keras.Operation, args: Any, options: Any) -> Any:
        """Put stand-ins in place of weights and constants among the arguments of a call.

        A layer with weights gets a new stand-in. An operation only gets a stand-in that exists
        already, so a table that is only added to a tensor gets none.
        """
        is_new = isinstance(operation, keras.Layer) and bool(operation.weights)

        def put_stand_in(value: Any) -> Any:
            if not _may_need_stand_in(value):
                return value
            for stand_in, original in self._stand_ins:
                if original is value:
                    return stand_in
            if not is_new:
                return value
            dtype = keras.backend.standardize_dtype(value.dtype)
            new = keras.KerasTensor(tuple(value.shape), dtype)
            self._stand_ins.append((new, value))
            return new

        return keras.tree.map_structure(put_stand_in, (args, options))

    def _follow(self, operation: keras.Operation, args: Any, options: Any) -> Any:
        """Make a call, follow it if possible, and append it to the calls."""
        problem = ""
        if isinstance(operation, keras.Layer):
            self._has_called |= bool(operation.weights)
        elif _gets_functions(operation, args, options):
            return self._follow_control(operation, args, options)
        if not self._is_specifying:
            args, options = self._put_stand_ins(operation, args, options)
        if isinstance(operation, keras.Layer):
            options = _complete_options(operation, options)
            if operation is self._model and not self._calls:
                return self._follow_model(args, options)
            if is_followed(operation) or _calls_operations(operation):
                calls, self._calls = self._calls, []
                try:
                    outputs = operation.call(*args, **options)
                    calls.append(SymbolicCall(operation, args, options, outputs, self._calls))
                    return outputs
                except Exception as error:  # it calls what knows no symbolic tensors
                    problem = _describe_error(error)
                finally:
                    self._calls = calls
        if _returns_input(operation):
            return args[0]
        if isinstance(operation, keras.layers.TimeDistributed | keras.layers.SpectralNormalization):
            return self._follow_wrapper(operation, args, options)
        outputs = self._specify(operation, args, options)
        self._calls.append(SymbolicCall(operation, args, options, outputs, None, problem))
        return outputs

    def _follow_control(self, operation: keras.Operation, args: Any, options: Any) -> Any:
        """Make the call of an operation that calls functions of the user, such as `fori_loop`.

        The number of calls is not known, so these functions may call no layers with weights.
        """
        calls, self._calls = self._calls, []
        had_called, self._has_called = self._has_called, False
        problem = ""
        try:
            outputs = self._specify(operation, args, options)
            problem = self._find_problem_in_body(operation, args)
        except Exception as error:
            problem = f"{get_kind(operation)}, {_describe_error(error)}"
            raise
        finally:
            self._calls = calls
            self._has_called |= had_called
            self._loops += [problem] if problem else []
        self._calls.append(SymbolicCall(operation, args, options, outputs, None, problem))
        return outputs

    def _find_problem_in_body(self, operation: Any, args: Any) -> str:
        """Return why a loop, or another operation with functions, cannot be followed, or "".

        The body is called here. Keras does not call it, because it assumes outputs similar to the
        inputs.
        """
        name = get_kind(operation)
        try:
            if hasattr(operation, "body_fun"):
                operation.body_fun(keras.KerasTensor((), "int32"), *args)
            elif hasattr(operation, "body"):
                operation.body(*keras.tree.flatten(args))
        except Exception as error:  # whatever a function of a user raises
            return f"{name}, {_describe_error(error)}"
        return f"{name} calls layers with weights" if self._has_called else ""

    def _specify(self, operation: keras.Operation, args: Any, options: Any) -> Any:
        # The symbolic outputs of a call that is not followed.
        was_specifying, self._is_specifying = self._is_specifying, True
        try:
            return _specify_outputs(operation, args, options)
        finally:
            self._is_specifying = was_specifying

    def _follow_model(self, args: Any, options: Any) -> Any:
        # An error leaves the calls before it.
        outputs = self._model.call(*args, **options)
        self._calls = [SymbolicCall(self._model, args, options, outputs, self._calls)]
        return outputs

    def _follow_wrapper(self, layer: keras.layers.Wrapper, args: Any, options: Any) -> Any:
        """Make the call of a layer of Keras around another layer, and the call inside."""
        calls, self._calls = self._calls, []
        try:
            if isinstance(layer, keras.layers.TimeDistributed):
                whole = args[0]
                step = keras.KerasTensor((whole.shape[0], *whole.shape[2:]), whole.dtype)
                self._follow(layer.layer, (step,), {})
                outputs = self._specify(layer, args, options)
            else:
                outputs = self._follow(layer.layer, (args[0],), {})
            calls.append(SymbolicCall(layer, args, options, outputs, self._calls))
        finally:
            self._calls = calls
        return outputs


def _select_symbols(values: Sequence[Any]) -> list[keras.KerasTensor]:
    return [value for value in values if isinstance(value, keras.KerasTensor)]


def _gets_functions(operation: keras.Operation, args: Any, options: Any) -> bool:
    # As arguments or as attributes, such as the body of a loop.
    attributes = (value for name, value in vars(operation).items() if not name.startswith("_"))
    values = [*attributes, *keras.tree.flatten((args, options))]
    return any(callable(value) and not isinstance(value, type) for value in values)


def _may_need_stand_in(value: Any) -> bool:
    # A weight or a constant with rows of floats.
    if isinstance(value, keras.KerasTensor):
        return False
    is_array = isinstance(value, keras.Variable) or keras.ops.is_tensor(value)
    if not is_array or len(value.shape) < 2:
        return False
    return bool(keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype)))


def _describe_error(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}"


@contextlib.contextmanager
def _symbolic_calls(
    layers: Sequence[keras.Layer],
    follow: Callable[[keras.Operation, Any, Any], Any],
    needs_stand_ins: Callable[[keras.Layer, Any, Any], bool],
) -> Iterator[keras.StatelessScope]:
    """Have `follow` make the calls with symbolic tensors, and yield the scope of variables.

    Args:
        layers: A model and all layers in it.
        follow: See `follow_calls`.
        needs_stand_ins: Whether `follow` makes a call without symbolic tensors too.
    """
    attributes = [dict(vars(layer)) for layer in layers]
    with (
        warnings.catch_warnings(),
        HOOKS,
        backend.preserve_state(layers) as scope,
        follow_calls(follow, needs_stand_ins),
    ):
        warnings.simplefilter("ignore")  # nobody has called the model
        try:
            yield scope
        finally:
            for layer, attributes_before in zip(layers, attributes, strict=True):
                _restore_attributes(layer, attributes_before)


def make_symbolic_inputs(
    model: keras.Model, length: int | None
) -> tuple[list[Any], dict[str, Any]]:
    """Make symbolic tensors of two examples, as arguments by position and by keyword.

    Args:
        model: A built model.
        length: The value for unknown lengths.
    """

    def tensor(shape: Any, dtype: str = "float32") -> Any:
        lengths = [length if size is None else size for size in shape[1:]]
        return keras.KerasTensor((2, *lengths), dtype=dtype)

    inputs = getattr(model, "inputs", None)
    if inputs:
        if len(inputs) == 1:
            return [tensor(inputs[0].shape, inputs[0].dtype)], {}
        return [
            keras.tree.map_structure(lambda symbol: tensor(symbol.shape, symbol.dtype), model.input)
        ], {}
    config: Any = model.get_build_config()
    if "input_shape" in config:
        return [keras.tree.map_shape_structure(tensor, config["input_shape"])], {}
    options = {}
    for name, shape in config["shapes_dict"].items():
        options[name.removesuffix("_shape")] = keras.tree.map_shape_structure(tensor, shape)
    return [], options


def _returns_input(operation: keras.Operation) -> bool:
    return get_kind(operation) in SAME


def is_followed(layer: keras.Layer) -> bool:
    """Return whether a layer is a model, or a user's layer that is no kind of a layer of Keras."""
    if isinstance(layer, keras.Model):
        return True
    kinds = [kind for kind in type(layer).__mro__ if kind not in keras.Layer.__mro__]
    return not any(map(is_from_keras, kinds)) and not normalizes(layer)


def _calls_operations(layer: keras.Layer) -> bool:
    # Whether the `call` of a layer of Keras calls operations or functions that can be followed: in
    # built-in models, in a user's subclass of a wrapper, in a `Lambda`.
    if is_from_applications(type(layer)):
        return True
    if isinstance(layer, keras.layers.Wrapper):
        return not is_from_keras(type(layer).call)
    return isinstance(layer, keras.layers.Lambda)


def _complete_options(layer: keras.Layer, options: dict[str, Any]) -> dict[str, Any]:
    # As Keras passes them: with `training` if the `call` takes it.
    parameters = inspect.signature(layer.call).parameters
    training = parameters.get("training")
    if training is None:
        return {name: value for name, value in options.items() if name != "training"}
    if training.default is training.empty:
        return {"training": False, **options}
    return options


def _restore_attributes(layer: keras.Layer, attributes: dict[str, Any]) -> None:
    # Its `call` may have set some.
    current = vars(layer)
    for name in list(current):
        if name not in attributes:
            del current[name]
        elif current[name] is not attributes[name]:
            current[name] = attributes[name]


def _specify_outputs(operation: Any, args: Any, options: Any) -> Any:
    """Compute the symbolic outputs of a call, and fill in lengths that a layer leaves open.

    `EinsumDense` leaves lengths open that its argument `output_shape` leaves open.
    """
    if _specifies_another_call(operation):
        args, options = keras.tree.map_structure(_replace_variable, (args, options))
        return keras.Operation.compute_output_spec(operation, *args, **options)
    outputs = operation.compute_output_spec(*args, **options)
    if not _lacks_lengths(outputs) or _lacks_lengths((args, options)):
        return outputs

    def to_variable_dtype(value: Any) -> Any:  # the cast to 16 bits is outside of `call`
        if isinstance(value, keras.KerasTensor) and keras.backend.is_float_dtype(value.dtype):
            return keras.KerasTensor(value.shape, operation.variable_dtype)
        return value

    args, options = keras.tree.map_structure(to_variable_dtype, (args, options))
    try:
        computed = keras.Operation.compute_output_spec(operation, *args, **options)
    except Exception:  # whatever the `call` of a user's layer raises
        return outputs
    return keras.tree.map_structure(
        lambda output, complete: keras.KerasTensor(complete.shape, output.dtype), outputs, computed
    )


def _replace_variable(value: Any) -> Any:
    # JAX does not trace variables.
    if isinstance(value, keras.Variable):
        return keras.KerasTensor(value.shape, value.dtype)
    return value


def _specifies_another_call(operation: keras.Operation) -> bool:
    # Whether it inherits the specification of outputs of a layer of Keras, but has another `call`,
    # as the attention of KerasHub, which takes arguments that Keras' does not.
    kind = type(operation)
    specification = kind.compute_output_spec
    is_default = specification in (
        keras.Operation.compute_output_spec,
        keras.Layer.compute_output_spec,
    )
    return not is_default and is_from_keras(specification) and not is_from_keras(kind.call)


def _lacks_lengths(values: Any) -> bool:
    return any(None in symbol.shape for symbol in _select_symbols(keras.tree.flatten(values)))
