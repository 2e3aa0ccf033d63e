"""The only file that relies on undocumented parts of Keras.

All other files use Keras' public names. Each function here names the parts that it relies on, after
"Relies on". Keras 3.10 to 3.16 have them, and `tests/test_keras.py` shows whether another version
has them.

Keras passes only a shape to an initializer. That is not enough for the bias of an LSTM: with
`unit_forget_bias=True` Keras asks for `(u,)` and `(2u,)`, with `False` for `(4u,)`, and a length of
8 may be any of these. Remembering earlier calls would make the values depend on other initializers.
Instead, this file inspects the call stack. The stack contains the variable being created and the
layers around it, usually with the layer that owns the variable. When `fit` builds a model, Keras
creates the variables after all layers are built, in the call of an outer layer or model. Then the
variable leads to the layer. `load_model` is on the stack too if the weights of a saved model are
about to overwrite the values. Keras has no public function for any of this.

Only the local variables of Keras' own functions are read. Until Python 3.12, reading the variables
of a function keeps all of them alive until the function returns, even if the user deletes them
before. A function that reads its own variables makes a cycle, which keeps the result until the
garbage collector runs.
"""

import collections
import contextlib
import copy
import inspect
import itertools
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import keras
from keras.optimizers.schedules import LearningRateSchedule

from keras_initx._typing import KerasOptimizer, Shape, Tensor


def name_initializer(name: str, cls: type[keras.initializers.Initializer]) -> None:
    """Make `keras.initializers.get`, and so layers, find a registered class by a name.

    Until Keras 3.15 it finds registered names itself. Since 3.16 it looks up a text only among
    Keras' own names. It still looks up dicts, for example from saved models, among registered
    names.

    Relies on the dict of Keras' names, in the module of the function. Without it, nothing is done.
    """
    names = vars(sys.modules[keras.initializers.get.__module__]).get("ALL_OBJECTS_DICT")
    if names is not None:
        names[name] = cls


def keeps_seed(initializer: object) -> bool:
    """Return whether an initializer keeps the seed that it was given beside the one that it uses.

    Relies on the attribute `_init_seed` of Keras' random initializers, which ours have too.
    """
    return hasattr(initializer, "_init_seed")


def read_given_seed(initializer: Any) -> Any:
    """Return the seed that an initializer was given: `None` if it has drawn the one that it uses.

    Relies on `keeps_seed`.
    """
    return initializer._init_seed


def give_seed(initializer: Any, seed: Any) -> None:
    """Make an initializer use a seed, as if it had been given to its constructor.

    Relies on `keeps_seed`.
    """
    initializer.seed = initializer._init_seed = seed


def layer_using(initializer: keras.initializers.Initializer) -> keras.Layer | None:
    """Return the layer that calls `initializer`, or `None` if it is unknown, as in a direct call.

    Relies on `variable_and_layers`, and on layers that keep their initializers as attributes.
    """
    variable, layers = variable_and_layers()
    if variable is not None:
        for layer in layers:
            owner = None
            for part in list_layers(layer):
                if not _holds(part, initializer):
                    continue
                if any(weight is variable for weight in part.weights):
                    owner = part  # each layer comes before those within it
            if owner is not None:
                return owner
    for layer in layers:
        if _holds(layer, initializer):
            return layer
    return None


def _holds(owner: object, initializer: keras.initializers.Initializer) -> bool:
    """Return whether an attribute is `initializer`, or a wrapper that passes the shape on to it."""
    for value in vars(owner).values():
        if value is initializer:
            return True
        # Initializers in a list, as in `Concatenated`, get other shapes.
        if isinstance(value, keras.initializers.Initializer) and _holds(value, initializer):
            return True
    return False


def variable_and_layers() -> tuple[keras.Variable | None, list[keras.Layer]]:
    """Return the variable being initialized and the layers on the call stack, innermost first.

    Relies on methods of Keras that call initializers and have the variable or the layer as `self`.
    Also on the function around the `build` of every layer, which has the layer as `obj`.

    Returns:
        The variable is `None` if the initializer is called directly.
    """
    variable = None
    layers: list[keras.Layer] = []
    for frame in _functions_of_keras():
        owner = frame.f_locals.get("self", frame.f_locals.get("obj"))
        if isinstance(owner, keras.Layer):
            if all(owner is not layer for layer in layers):
                layers.append(owner)
        elif variable is None and not layers and isinstance(owner, keras.Variable):
            variable = owner
    return variable, layers


def is_loading_model() -> bool:
    """Return whether the values are for a model that is being loaded.

    Then `load_model`, or unpickling it, is about to overwrite its weights.

    Relies on `load_model`, even if a tool that logs calls has wrapped it, and on the private
    function that reads a pickled or copied model. Both create the variables before they return.
    """
    loaders = inspect.unwrap(keras.saving.load_model).__code__, keras.Model._unpickle_model.__code__
    for_variable = False
    for frame in _functions_of_keras():
        for_variable |= isinstance(frame.f_locals.get("self"), keras.Variable)
        if frame.f_code in loaders:
            return for_variable
    return False


def forget_unmade_variables() -> None:
    """Give Keras an empty list of variables to be created, if the caller is creating them.

    Keras creates them at the end of a scope. Call this if an error interrupts the creation. Without
    it, Keras keeps a list with some created variables, and every later attempt to build a model
    fails. The old list is not changed, because code that catches the error may use it.

    Relies on the end of a `StatelessScope`, which calls a function that keeps the list under this
    name.
    """
    making: dict[str, Any] = {}
    for frame in _functions_of_keras():
        if frame.f_code is keras.StatelessScope.__exit__.__code__:
            making["global_state"].set_global_attribute("uninitialized_variables", [])
            return
        making = frame.f_globals


def _functions_of_keras() -> Iterator[FrameType]:
    """Yield the frames of Keras' functions on the call stack, innermost first."""
    packages = _packages()
    frame = inspect.currentframe()
    while frame is not None:
        if _package(frame.f_globals.get("__name__")) in packages:
            yield frame
        frame = frame.f_back


def _packages() -> set[str]:
    """Return the names of Keras' package and of the package of its backend, which may be another.

    Relies on the method of variables that each backend defines, such as `keras_mlx`. Other packages
    with similar names, such as `keras_hub` or a user's, are not Keras' own.
    """
    of_backend = keras.Variable._initialize.__globals__["__name__"]
    return {_package(keras.Variable.__module__), _package(of_backend)}


def _package(module: object) -> str:
    return str(module).partition(".")[0]


@contextlib.contextmanager
def observe_assignments(observe: Callable[[keras.Variable, Any], object]) -> Iterator[None]:
    """Call `observe` with each variable that a layer assigns in this thread, and its value before.

    Assignments that build a layer do not count: by an initializer that draws from a generator, or
    in `build`.

    Relies on the method of variables that assigns outside of a `StatelessScope`, and on the
    attribute that has the value, because `value` may be rounded to the compute dtype of a layer.
    """
    thread = threading.get_ident()
    assign = keras.Variable._direct_assign

    def observed(variable: keras.Variable, value: Any) -> None:
        if threading.get_ident() == thread and not _is_building():
            observe(variable, variable._value)
        assign(variable, value)

    keras.Variable._direct_assign = observed
    try:
        yield
    finally:
        keras.Variable._direct_assign = assign


class AssigningScope(keras.StatelessScope):
    """A scope for a call that assigns some weights. The call computes with the weights themselves.

    In another scope it would compute with the assigned values, and the weights would get no
    gradient. At the end the weights have their former values.

    Relies on the method by which variables pass assigned values to a scope, and on the parts that
    `observe_assignments` relies on.

    Args:
        weights: The weights.
        snapshot: Returns a copy of a value.
        known: Pairs of a variable and its value, as for `keras.StatelessScope`.
    """

    def __init__(
        self,
        weights: Sequence[keras.Variable],
        snapshot: Callable[[Any], Any],
        known: Sequence[tuple[keras.Variable, Any]],
    ) -> None:
        super().__init__(known, collect_losses=True)
        self._weights = set(map(id, weights))
        self._snapshot = snapshot
        self._former: dict[int, tuple[keras.Variable, Any]] = {}

    def add_update(self, update: tuple[keras.Variable, Any]) -> None:
        variable, value = update
        if id(variable) not in self._weights:
            super().add_update(update)
            return
        if id(variable) not in self._former:
            self._former[id(variable)] = variable, self._snapshot(variable._value)
        variable._direct_assign(value)
        if id(variable) in self.state_mapping:
            self.state_mapping[id(variable)] = keras.ops.convert_to_tensor(variable._value)

    def __exit__(self, *arguments: Any) -> None:
        super().__exit__(*arguments)
        for variable, value in self._former.values():
            variable.assign(value)


def _is_building() -> bool:
    """Return whether a variable is being made or a layer built, and no layer called within that.

    Relies on the functions of Keras that make variables and build layers.
    """
    for frame in _functions_of_keras():
        name = frame.f_code.co_name
        owner = frame.f_locals.get("self", frame.f_locals.get("obj"))
        if isinstance(owner, keras.Variable) and name in ("__init__", "_deferred_initialize"):
            return True
        if isinstance(owner, keras.Layer) and name in ("build_wrapper", "__call__"):
            return name == "build_wrapper"
    return False


def remember_global_generator() -> Callable[[], None]:
    """Return a function that restores Keras' present global random generator, if any.

    Keras makes it at its first use, with a seed from Python's `random`. Its state is a variable.
    `keras.utils.set_random_seed` also keeps its seed, which processes of one program share.

    Relies on the module of `SeedGenerator`, which keeps both under these names.
    """
    state = _global_state()
    kept = {}
    for name in ("global_seed_generator", "global_random_seed"):
        kept[name] = state.get_global_attribute(name)

    def put_back() -> None:
        for name, value in kept.items():
            state.set_global_attribute(name, value)

    return put_back


def generator_states(layers: Sequence[keras.Layer]) -> list[keras.Variable]:
    """Return the states of the random generators that layers hold, and of the global one.

    Relies on the private list of a layer that tracks them, and on the name of the global generator.
    """
    generators = [generator for layer in layers for generator in layer._seed_generators]
    of_all = _global_state().get_global_attribute("global_seed_generator")
    if of_all is not None:
        generators.append(of_all)
    return [generator.state for generator in generators]


def layers_by_group(model: keras.Model) -> dict[keras.Layer, str]:
    """Return the layers of a model by the groups that they have in a file: `layers/dense`.

    The group of the model is empty. If several layers contain a layer, it is saved in one of them.

    Relies on the function that goes through the parts of a layer to write a file. Its caller would
    also call `save_own_variables` of each layer, which may be a user's and fail.
    """
    walk = _saving_lib()._walk_saveable
    found: dict[keras.Layer, str] = {}

    def visit(value: Any, group: str, containers: tuple[int, ...]) -> None:
        if isinstance(value, keras.Layer):
            if value in found:
                return
            found[value] = group
            if not list_layers(value, include_self=False, recursive=False):
                return  # looking at all attributes takes long
            for name, part in walk(value):
                visit(part, f"{group}/{name}".removeprefix("/"), ())
        elif isinstance(value, list | dict | tuple) and id(value) not in containers:
            for name, _, part in _parts_of_container(value):
                visit(part, f"{group}/{name}", (*containers, id(value)))

    visit(model, "", ())
    return found


def list_attribute_layers(layer: keras.Layer) -> dict[keras.Layer, list[str]]:
    """Return the layers in attributes of a layer, also in lists and dicts, with the path to each.

    The path is the attribute, such as `head`. In a container it is the group of `layers_by_group`
    with the key of each dict: `towers/dense_1[query]`. Single attributes come first. Layers that
    the layer itself lists as its `layers` are left out.

    Relies on the same function as `layers_by_group`.
    """
    attributes = [pair for pair in _saving_lib()._walk_saveable(layer) if pair[0] != "layers"]
    paths: dict[keras.Layer, list[str]] = {}

    def visit(container: Any, path: str, containers: tuple[int, ...]) -> None:
        for name, key, part in _parts_of_container(container):
            inner = f"{path}/{name}{key}"
            if isinstance(part, keras.Layer):
                paths.setdefault(part, []).append(inner)
            elif isinstance(part, list | dict | tuple) and id(part) not in containers:
                visit(part, inner, (*containers, id(part)))

    for name, value in attributes:
        if isinstance(value, keras.Layer):
            paths.setdefault(value, []).append(name)
    for name, value in attributes:
        if isinstance(value, list | dict | tuple):
            visit(value, name, (id(value),))
    return paths


def _parts_of_container(container: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield the saved items of a list, dict or tuple: name in files, key as text, and item."""
    saving = _saving_lib()
    (saveable,) = (cls for cls in keras.Layer.__mro__ if cls.__name__ == "KerasSaveable")
    counts: collections.Counter[str] = collections.Counter()
    keys = None
    if isinstance(container, dict):
        keys = [f"[{urllib.parse.quote(str(key), safe='')}]" for key in container]
        container = list(container.values())
    for place, part in enumerate(container):
        name = "container"
        if isinstance(part, saveable):
            name = saving.naming.to_snake_case(type(part).__name__)
        elif not isinstance(part, list | dict | tuple):
            continue
        number = f"_{counts[name]}" if counts[name] else ""
        counts[name] += 1
        yield f"{name}{number}", keys[place] if keys else "", part


def _saving_lib() -> Any:
    return vars(sys.modules[keras.saving.load_weights.__module__])["saving_lib"]


# The name under which Keras counts automatic names, in each thread beside the global generator.
_NAMES = "object_name_uids"


def name_counts() -> dict[str, int]:
    """Return the number of automatic names of each kind in this thread.

    Relies on the name under which Keras counts them.
    """
    return dict(_global_state().get_global_attribute(_NAMES) or {})


@contextlib.contextmanager
def preserve_names(start: Mapping[str, int] | None = None) -> Iterator[None]:
    """Yield a context that does not change the next automatic names.

    Relies on the name under which Keras counts them.

    Args:
        start: The counts within the context, by default the present ones.
    """
    state = _global_state()
    kept = copy.copy(state.get_global_attribute(_NAMES))
    if start is not None:
        state.set_global_attribute(_NAMES, collections.defaultdict(int, start))
    try:
        yield
    finally:
        state.set_global_attribute(_NAMES, kept)


def _global_state() -> Any:
    """Return the module in which Keras keeps the state of a thread."""
    return vars(sys.modules[keras.random.SeedGenerator.__module__])["global_state"]


def is_in_scope() -> bool:
    """Return whether this thread is in a `keras.StatelessScope`, which gets what is assigned.

    Relies on the name under which Keras keeps the scope.
    """
    return _global_state().get_global_attribute("stateless_scope") is not None


def read_mask(tensor: Tensor) -> Tensor | None:
    """Return the mask that Keras has put on a tensor, or `None`.

    Relies on the attribute of tensors by which layers pass a mask on.
    """
    return getattr(tensor, "_keras_mask", None)


def copy_mask(tensor: Tensor, other: Tensor) -> Tensor:
    """Return `other` with the mask that Keras has put on `tensor`, if there is one."""
    mask = read_mask(tensor)
    if mask is not None:
        other._keras_mask = mask
    return other


def list_constants(function: keras.Function) -> list[Any]:
    """Return the concrete tensors among the arguments of operations of a functional model.

    They were made with the model, and are the same in each of its calls.

    Relies on the arguments in the nodes of a function.
    """
    found = []
    nodes = itertools.chain.from_iterable(function._nodes_by_depth.values())
    for node in nodes:
        if node.is_input:
            continue
        for leaf in keras.tree.flatten((node.arguments.args, node.arguments.kwargs)):
            if keras.ops.is_tensor(leaf) and not isinstance(leaf, keras.KerasTensor):
                found.append(leaf)
    return found


def has_layout(variable: keras.Variable) -> bool:
    """Return whether Keras distributes the values of a variable by a layout.

    Relies on the attribute for the layout, which variables have since Keras 3.13.
    """
    return getattr(variable, "_layout", None) is not None


def is_from_keras(value: Any) -> bool:
    """Return whether a class or a function is from Keras, not from a user or another package.

    Relies on its private modules to be named after the package, under `keras.src`.
    """
    return _package(value.__module__) in _packages()


def is_from_applications(value: Any) -> bool:
    """Return whether a class belongs to a built-in model, such as the `LayerScale` of ConvNeXt.

    Relies on the private module of these models.
    """
    return is_from_keras(value) and ".applications." in value.__module__


def metric_direction(metric: keras.metrics.Metric) -> str | None:
    """Return `"up"` or `"down"`, whether larger or smaller values are better, or `None`.

    Relies on `_direction`, which Keras' own callbacks use. A subclass inherits it, even if its
    result means the opposite.
    """
    if not is_from_keras(type(metric).result):
        return None
    return getattr(metric, "_direction", None)


def argument_name(weight: str) -> str:
    """Return the name of the layer argument that sets the initializer of the weight of this name.

    Relies on the names that Keras gives weights: `recurrent_kernel` is set by
    `recurrent_initializer`.
    """
    return f"{weight.removesuffix('_kernel')}_initializer"


def list_layers(
    layer: keras.Layer, *, include_self: bool = True, recursive: bool = True
) -> list[keras.Layer]:
    """Return a layer and all layers within it, in the order in which Keras tracks them.

    Each comes before its parts.

    Relies on the private method behind `keras.Model.layers`, because other layers do not list their
    parts. A walk over their attributes would also find other layers of Keras, such as the
    functional model within a `Sequential`, and could skip these only by private names.
    """
    return list(layer._flatten_layers(include_self=include_self, recursive=recursive))


def has_call(model: keras.Model) -> bool:
    """Return whether `model` has a `call`. A model without it trains others in its `train_step`."""
    return getattr(model.call, "__func__", None) is not keras.Model.call


def is_made_to_train(layer: keras.Layer, variable: keras.Variable) -> bool:
    """Return whether `layer` made a variable as trainable, even if it is frozen.

    Relies on the private list of such variables. Freezing a layer does not change this list.
    """
    return any(variable is one for one in layer._trainable_variables)


def compiled_loss(model: keras.Model) -> Any:
    """Return the object behind `model.compute_loss` that computes the compiled loss, or `None`.

    Relies on a private attribute. `model.loss` is public, but has the argument that the user passed
    to `compile`.
    """
    return getattr(model, "_compile_loss", None)


def read_loss_arguments(loss: keras.losses.Loss) -> Mapping[str, Any]:
    """Return the arguments that a loss of Keras passes to its function. Its config may lack some.

    Relies on a private attribute: the config of `Huber` has no `delta`.
    """
    arguments: Mapping[str, Any] = vars(loss).get("_fn_kwargs", {})
    return arguments


def read_loss_weights(model: keras.Model) -> Any:
    """Return the weights of the losses of a model, as `compile` got them.

    Relies on a private attribute. The config of `compile` lacks them if the optimizer has no
    config.
    """
    return getattr(compiled_loss(model), "_user_loss_weights", None)


@contextlib.contextmanager
def preserve_losses(model: keras.Layer) -> Iterator[None]:
    """Yield a context that restores the losses that earlier calls have added to `model.losses`.

    Relies on private attributes of the layers inside, which the next call of a model clears.
    `model.losses` is public, but cannot be set.
    """
    kept = {}
    for layer in list_layers(model):
        kept[id(layer)] = list(layer._losses), set(layer._loss_ids)
    try:
        yield
    finally:
        for layer in list_layers(model):
            losses, ids = kept.get(id(layer), ((), ()))  # it may have been made meanwhile
            layer._losses[:] = losses
            layer._loss_ids.clear()
            layer._loss_ids.update(ids)


@contextlib.contextmanager
def replace_rate(optimizer: keras.optimizers.Optimizer, rate: Any) -> Iterator[Any]:
    """Give `optimizer` this rate for the duration of the block, and yield its own rate.

    Relies on the attribute that holds the rate or schedule of an optimizer, and that its config
    reads.

    Args:
        optimizer: The optimizer.
        rate: A variable, or in the step of a weight a tensor.
    """
    kept = vars(optimizer)["_learning_rate"]
    vars(optimizer)["_learning_rate"] = rate
    try:
        yield kept
    finally:
        vars(optimizer)["_learning_rate"] = kept


def read_schedule(optimizer: keras.optimizers.Optimizer) -> LearningRateSchedule | None:
    """Return the schedule of the learning rate of an optimizer, or `None` if it has none.

    Relies on the attribute that holds it, because the public attribute has the present rate.
    """
    kept = vars(optimizer).get("_learning_rate")
    return kept if isinstance(kept, LearningRateSchedule) else None


def list_modules(owner: Any) -> dict[str, Any]:
    """Return the layers and modules in the attributes of an object, by the names of the attributes.

    Relies on the dict of torch modules, which layers are on this backend. On other backends layers
    are plain attributes, and this is empty.
    """
    modules: dict[str, Any] = vars(owner).get("_modules", {})
    return modules


# The attributes in which an optimizer keeps what it excludes from weight decay: weights, and a
# pattern of names. No config has them.
_EXCLUSIONS = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")


def copy_exclusions(
    optimizer: keras.optimizers.Optimizer, copied: keras.optimizers.Optimizer
) -> None:
    """Exclude from the weight decay of `copied` the weights that `optimizer` excludes.

    Both must have the same weights, because some exclusions identify the variable.
    """
    for name in _EXCLUSIONS:
        if name in vars(optimizer):
            vars(copied)[name] = vars(optimizer)[name]


class ParallelSteps(KerasOptimizer):
    """Passes the steps of all weights, which Keras makes at once on torch, to one method.

    Relies on `_parallel_update_step`, which Keras' classes on torch have instead of `update_step`.
    """

    def _update_all(
        self,
        update: Callable[[Sequence[Tensor], Sequence[keras.Variable], Tensor], None],
        grads: Sequence[Tensor],
        variables: Sequence[keras.Variable],
        learning_rate: Tensor,
    ) -> None:
        """Make the steps of weights by `update`, which takes the other arguments."""
        update(grads, variables, learning_rate)

    def _parallel_update_step(
        self, grads: Sequence[Tensor], variables: Sequence[keras.Variable], learning_rate: Tensor
    ) -> None:
        self._update_all(super()._parallel_update_step, grads, variables, learning_rate)


def index_in_optimizer(optimizer: keras.optimizers.Optimizer, weight: keras.Variable) -> int:
    """Return the index of a weight among the weights that an optimizer was built for.

    Relies on the method by which optimizers find it. On TensorFlow it also takes TensorFlow's
    variables, because `update_step` gets these.
    """
    place: int = optimizer._get_variable_index(weight)
    return place


def momentum_product(optimizer: keras.optimizers.Optimizer) -> keras.Variable | None:
    """Return the product of all momenta that a Nadam keeps, or `None` for any other optimizer.

    Relies on the attribute that holds it.
    """
    return getattr(optimizer, "_u_product", None)


def track(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> None:
    """Add a variable to an optimizer, so that JAX keeps it from step to step, and files have it.

    Relies on the method by which an optimizer adds its own variables.
    """
    optimizer._track_variable(variable)


class GradientKeeper(KerasOptimizer):
    """Keeps the gradient of each weight, and takes no step.

    Attributes:
        kept: The gradients of the last step, in the order of the weights that it was built with. If
            the loss does not depend on a weight, its gradient is 0.
    """

    kept: Sequence[keras.Variable] = ()

    def __init__(self) -> None:
        super().__init__(learning_rate=0.0)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make a variable for each gradient."""
        if self.built:
            return
        super().build(variables)
        self.kept = [self.add_variable_from_reference(one, name="kept") for one in variables]

    def update_step(
        self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
    ) -> None:
        """Keep the gradient of a weight."""
        # That of an embedding has a row for each use on TensorFlow, which are added up here.
        self.assign_add(self.kept[index_in_optimizer(self, variable)], gradient)


# The methods that make the steps of all weights, each by a later one. The last makes that of one.
_STEPS = (
    "stateless_apply",
    "apply",
    "_backend_apply_gradients",
    "_backend_update_step",
    "update_step",
)


def method_without_steps(optimizer: keras.optimizers.Optimizer) -> str | None:
    """Return the name of a method by which a user's class skips `update_step`, or `None`.

    The code of such a method names no method that leads to `update_step`, as `super().apply` does.

    Relies on the names of these methods.
    """
    for cls in type(optimizer).__mro__:
        if is_from_keras(cls):
            continue
        for name in _STEPS[:-1]:
            if name in vars(cls) and _names_in(inspect.unwrap(vars(cls)[name])).isdisjoint(_STEPS):
                return name
    return None


def _names_in(function: Any) -> set[str]:
    """Return the names of attributes and globals in the code of a function."""
    names: set[str] = set()
    codes = [getattr(function, "__code__", None)]
    while codes:
        code = codes.pop()
        if isinstance(code, CodeType):
            names.update(code.co_names)
            codes.extend(code.co_consts)  # with those of functions within
    return names


def is_left_to_adam(optimizer: keras.optimizers.Optimizer, path: str, shape: Shape) -> bool:
    """Return whether a Muon trains the weight of this path and shape by Adam.

    Relies on the method that decides it, which reads the path and shape of a variable.
    """
    weight = SimpleNamespace(path=path, name=path.rpartition("/")[2], shape=shape)
    return bool(optimizer._should_use_adamw(weight))


def is_built_with(optimizer: keras.optimizers.Optimizer, weight: keras.Variable) -> bool:
    """Return whether `weight` is among the weights that an optimizer was built with.

    Relies on the dict from weights to their indices, and on the method for its keys.
    """
    return optimizer._var_key(weight) in optimizer._trainable_variables_indices


_OPERATORS = ("__add__", "__sub__", "__mul__", "__truediv__", "__matmul__")


@contextlib.contextmanager
def follow_calls(
    follow: Callable[[keras.Operation, Any, Any], Any],
    begins: Callable[[keras.Layer, Any, Any], bool],
) -> Iterator[None]:
    """Make `follow` carry out the calls of layers and operations with symbolic tensors.

    This holds in this thread. `follow` gets the layer or operation, its positional arguments and
    its keyword arguments. These calls do not add nodes to the layers, unlike calls that make a
    functional model. If a layer is called without symbolic tensors, `begins` decides whether
    `follow` carries out the call too.

    Relies on the two methods by which Keras makes these calls. If a variable is before an operator,
    the backend would handle the operator, but it does not know symbolic tensors. So the variable
    passes the operator on to these methods.
    """
    thread = threading.get_ident()
    call_layer = keras.Layer.__call__
    call_operation = keras.Operation.symbolic_call

    def layer_call(layer: keras.Layer, *args: Any, **options: Any) -> Any:
        is_symbolic = any(map(_is_symbolic, keras.tree.flatten((args, options))))
        if threading.get_ident() != thread or not (is_symbolic or begins(layer, args, options)):
            return call_layer(layer, *args, **options)
        return follow(layer, args, options)

    def operation_call(operation: keras.Operation, *args: Any, **options: Any) -> Any:
        if threading.get_ident() != thread:
            return call_operation(operation, *args, **options)
        return follow(operation, args, options)

    def left_to_symbolic(operator: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def applied(variable: keras.Variable, other: Any) -> Any:
            if _is_symbolic(other):
                return NotImplemented
            return operator(variable, other)

        return applied

    operators = {name: getattr(keras.Variable, name) for name in _OPERATORS}
    own = vars(keras.Variable).keys() & set(_OPERATORS)
    keras.Layer.__call__ = layer_call
    keras.Operation.symbolic_call = operation_call
    for name, operator in operators.items():
        setattr(keras.Variable, name, left_to_symbolic(operator))
    try:
        yield
    finally:
        keras.Layer.__call__ = call_layer
        keras.Operation.symbolic_call = call_operation
        for name, operator in operators.items():
            if name in own:
                setattr(keras.Variable, name, operator)
            else:
                delattr(keras.Variable, name)


def _is_symbolic(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)
