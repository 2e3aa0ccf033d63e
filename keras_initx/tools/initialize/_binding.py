"""Bind an initializer to one weight: copy it with a seed and axes, and check that it can fill it.

A rule such as `{"*kernel": "initx.he_normal"}` is for many weights. Each gets a copy:

    hidden/kernel           (8, 4)     HeNormal(seed=7)
    attention/query/kernel  (8, 2, 4)  HeNormal(seed=5, input_axes=[0], output_axes=[1, 2])

Axes are the dimensions of a kernel that are inputs and units. The copy gets them if the initializer
would choose others. A user's initializer that cannot be copied is called itself, with its own seed.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from keras_initx._checks import DTYPES, quote_names
from keras_initx._received import show
from keras_initx._typing import Shape
from keras_initx.initializers._as_ours import Adapted, adapt_initializer
from keras_initx.initializers._convolution import ICNR, Bilinear, DeltaOrthogonal, Dirac
from keras_initx.initializers._description import AXES
from keras_initx.initializers._gates import is_gru, is_lstm
from keras_initx.initializers._initializer import (
    Initializer,
    RandomInitializer,
    catalog,
    constructor_parameters,
)
from keras_initx.initializers._recurrent import ChronoBias, GRUUpdateBias
from keras_initx.initializers._scale import MatrixInitializer, default_axes
from keras_initx.initializers._seeds import derived_seed, has_seed, initializers_within
from keras_initx.initializers._sparse import Masked, kept_sparse
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.inspection._kernels import KernelAxes
from keras_initx.inspection._weights import (
    ModelWeight,
    find_computed_weight,
    module_weight_name,
)

# Arguments of `VarianceScaling`, `Spectral` and `Scaled`.
_SCALES = ("scale", "factor")
# The length of what is shown of an error of a user's class.
_LINE = 100
# The classes of this package: what they refuse is an error.
_OURS = frozenset(entry.cls for entry in catalog().values())


# Initializers that write to places in Keras' order of axes or gates.
_IN_KERAS_ORDER = (Bilinear, DeltaOrthogonal, Dirac, ICNR, GRUUpdateBias)


class Uncopied(NamedTuple):
    """An initializer of a user that is called itself, because it cannot be copied.

    Attributes:
        name: The name of its class.
        reason: Why it cannot.
    """

    name: str
    reason: str


class Bound(NamedTuple):
    """An initializer that is ready to fill a weight.

    Attributes:
        initializer: The copy for this weight, or the initializer itself. `None` if it has none.
        seed: The seed of the copy, if it has one. A user's object has its own.
        uncopied: The initializers that are called themselves, with nested ones.
    """

    initializer: LayerInitializer | None
    seed: int | None = None
    uncopied: Sequence[Uncopied] = ()


def bind(initializer: keras.initializers.Initializer, weight: ModelWeight, root: int) -> Bound:
    """Copy an initializer for a weight, with a seed that is derived from `root`.

    Raises:
        ValueError: If the initializer cannot fill the weight.
    """
    for nested in initializers_within(initializer):
        try:
            adapt_initializer(nested).check_numbers()
        except ValueError as error:
            raise unsuitable_error(repr(nested), weight.path, f": {error}") from None
    seed = derived_seed(root, weight.path)
    binding = Binding(weight)
    copy = binding.bind(initializer, seed)
    is_seeded = copy is not initializer and has_seed(copy.get_config())
    check_suitable(copy, weight)
    zeros = kept_sparse(weight.variable)
    if zeros is not None:
        copy = Masked(copy, zeros)
    return Bound(copy, seed if is_seeded else None, binding.uncopied)


class Binding:
    """Binds initializers to a weight: copies them with a seed, and with axes if they have none.

    An initializer of Keras is replaced by its counterpart in this package, unless the counterpart
    refuses an argument. Nested initializers get seeds and axes too. A user's initializer is called
    itself if its config lacks an argument, because a copy would have other values. The same holds
    if its class refuses its own config.

    Attributes:
        weight: The weight.
        uncopied: The bound initializers that are called themselves.
    """

    def __init__(self, weight: ModelWeight) -> None:
        self.weight = weight
        self.uncopied: list[Uncopied] = []

    def bind(
        self, initializer: keras.initializers.Initializer, seed: int, *, is_scaled: bool = False
    ) -> keras.initializers.Initializer:
        """Copy an initializer for the weight.

        Args:
            initializer: An initializer. Its seed, if any, is replaced.
            seed: An integer.
            is_scaled: Whether it is nested in one that multiplies its values by a number of the
                user.
        """
        adapted = adapt_initializer(initializer)
        cls = adapted.counterpart or type(initializer)
        arguments = adapted.arguments()
        if arguments is None:
            return self._keep_itself(
                initializer, f"its config lacks {quote_names(adapted.lacking())}"
            )
        # Its number may stand for the strides: a layer does not tell its initializer of them.
        is_scaled = is_scaled or not arguments.keys().isdisjoint(_SCALES)
        if "seed" in arguments:
            arguments["seed"] = seed
        if isinstance(initializer, ChronoBias) and initializer.cell is None:
            # It would look at the layer that calls it, and no layer does here.
            arguments["cell"] = _find_cell_name(self.weight.layer)
        axes = None
        has_no_axes = all(arguments.get(name) is None for name in AXES)
        if has_no_axes and constructor_parameters(cls).keys() >= set(AXES):
            axes = _choose_axes(cls, self.weight)
        if axes is not None:
            inputs, units = axes
            arguments["input_axes"] = list(inputs)
            arguments["output_axes"] = list(units)
        copy = self._copy(adapted, arguments, seed, is_scaled)
        if copy is initializer or not isinstance(copy, RandomInitializer):
            return copy
        if not has_no_axes:
            return copy.for_weight(seed)
        input_groups, unit_groups = self.weight.groups
        if not is_scaled:
            input_groups *= self.weight.phases
        return copy.for_weight(seed, groups=(input_groups, unit_groups))

    def _copy(
        self, adapted: Adapted, arguments: Mapping[str, Any], seed: int, is_scaled: bool
    ) -> keras.initializers.Initializer:
        """Copy an initializer with these arguments, or return itself if that fails."""
        initializer: keras.initializers.Initializer = adapted.initializer
        counterpart = adapted.counterpart
        if counterpart is not None:
            try:
                return counterpart.from_config(self._bind_arguments(arguments, seed, is_scaled))
            except ValueError:  # such as of a standard deviation of 0, which Keras takes
                return type(initializer).from_config({**initializer.get_config(), "seed": seed})
        cls = type(initializer)
        if cls in _OURS:
            return cls.from_config(self._bind_arguments(arguments, seed, is_scaled))
        try:
            return cls.from_config(self._bind_arguments(arguments, seed, is_scaled))
        except Exception as error:  # it may refuse its own config, or hold one of no known class
            problem = f"{type(error).__name__}: {error}".removesuffix(": ")
            problem = textwrap.shorten(problem, _LINE, placeholder="...")
            return self._keep_itself(initializer, f"its class refuses its config, by {problem}")

    def _keep_itself(
        self, initializer: keras.initializers.Initializer, reason: str
    ) -> keras.initializers.Initializer:
        uncopied = Uncopied(type(initializer).__name__, reason)
        if uncopied not in self.uncopied:
            self.uncopied.append(uncopied)
        return initializer

    def _bind_arguments(
        self, arguments: Mapping[str, Any], seed: int, is_scaled: bool
    ) -> dict[str, Any]:
        return {
            name: self._bind_argument(value, derived_seed(seed, name), is_scaled)
            for name, value in arguments.items()
        }

    def _bind_argument(self, value: Any, seed: int, is_scaled: bool) -> Any:
        if isinstance(value, list | tuple):
            items = []
            for i, item in enumerate(value):
                items.append(self._bind_argument(item, derived_seed(seed, i), is_scaled))
            return items
        if isinstance(value, keras.initializers.Initializer):
            return self.bind(value, seed, is_scaled=is_scaled)
        # In the config of a user's initializer.
        if isinstance(value, Mapping) and "class_name" in value:
            inner = keras.saving.deserialize_keras_object(value)
            if isinstance(inner, keras.initializers.Initializer):
                inner = self.bind(inner, seed, is_scaled=is_scaled)
                return keras.saving.serialize_keras_object(inner)
        return value


def _find_cell_name(layer: keras.Layer | None) -> str | None:
    if is_lstm(layer):
        return "lstm"
    if is_gru(layer):
        return "gru"
    return None


def _choose_axes(cls: type, weight: ModelWeight) -> KernelAxes | None:
    """Choose the axes that an initializer of type `cls` needs for `weight`.

    They are `None` if the initializer would choose the same axes itself, or if the weight is no
    kernel.
    """
    if weight.axes is None:
        return None
    inputs, units = weight.axes
    rank = len(weight.shape)
    default_inputs, default_units = default_axes(rank)
    if issubclass(cls, MatrixInitializer):
        # It needs each axis once. Those of a window are inputs of each unit, and what a depthwise
        # kernel does to each channel is no matrix.
        units = _remove_axes(units, inputs)
        default_units = _remove_axes(default_units, default_inputs)
        if not inputs or not units or len(inputs + units) < rank:
            return None
    if (inputs, units) == (default_inputs, default_units):
        return None
    return inputs, units


def _remove_axes(axes: Shape, others: Shape) -> Shape:
    return tuple(axis for axis in axes if axis not in others)


def check_suitable(initializer: LayerInitializer | None, weight: ModelWeight) -> None:
    """Raise `ValueError`, before anything is drawn, if an initializer cannot fill a weight."""
    if not isinstance(initializer, keras.initializers.Initializer):
        return
    try:
        adapted = adapt_initializer(initializer)
        adapted.check_shape(weight.shape)
        adapted.check_dtype(weight.shape, weight.dtype)
    except ValueError as error:
        raise unsuitable_error(repr(initializer), weight.path, f": {error}") from None
    if isinstance(initializer, Initializer) and weight.dtype not in DTYPES:
        raise unsuitable_error(repr(initializer), weight.path, f" of dtype {weight.dtype}")
    if isinstance(weight.layer, keras.layers.TorchModuleWrapper):
        used = find_computed_weight(weight)
        if used is not None:
            left = ", ".join(f"{path!r}: None" for path in used.parameters)
            problem = (
                f", the parameter {module_weight_name(weight)!r} from which torch computes "
                f"{used.name!r}: the weight in use would have other values. Draw {used.name!r} "
                "before the module is parametrized, and leave its parameters as they are: write "
                f"{{{left}}} before other rules"
            )
            if used.others:
                problem += f". A rule may draw {quote_names(used.others)}"
            raise unsuitable_error(repr(initializer), weight.shown, problem)
        for nested in initializers_within(initializer):
            if isinstance(nested, _IN_KERAS_ORDER) or getattr(nested, "cell", None) == "gru":
                problem = ", whose axes or gates are in the order of torch"
                raise unsuitable_error(repr(initializer), weight.path, problem)


def unsuitable_error(initializer: str | None, path: str, problem: str) -> ValueError:
    return ValueError(
        f"`rules` must suit the weights. Received: {initializer} for {show(path)}{problem}"
    )
