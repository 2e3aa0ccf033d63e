"""The parts of a model that recipes give weights to, by its graph, where names say nothing."""

from collections.abc import Sequence

import keras

from keras_initx._recipe_names import NotedRules
from keras_initx.recipes._network import Network, quoted
from keras_initx.recipes._recipe import Recipe
from keras_initx.structure import (
    ATTENTION,
    Branch,
    ModelWeight,
    activation_name,
    is_kernel,
    multiplies_by_kernel,
    normalizes,
)

# Layers of which the last kernel makes the outputs.
_LAYERS = (
    *ATTENTION,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.TimeDistributed,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
# Activations of which the output is 0 at 0, and the slope is not: what starts at 0 can be trained.
_OPEN_AT_0 = (
    "celu",
    "elu",
    "gelu",
    "hardsilu",
    "hardtanh",
    "leakyrelu",
    "mish",
    "prelu",
    "selu",
    "silu",
    "softsign",
    "tanh",
)
# How other operations begin of which this holds too.
_LINEAR = (
    "Add",
    "AlphaDropout",
    "AveragePool",
    "Cropping",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "MaxPool",
    "Multiply",
    "Permute",
    "Reshape",
    "SpatialDropout",
    "Transpose",
    "TrueDivide",
    "UpSampling",
    "ZeroPadding",
)


class Parts:
    """The parts of a model by its graph.

    Args:
        name: Name of the argument of the recipe.
        network: What the model consists of.
        required: What the recipe is for, for its errors.
    """

    def __init__(self, name: str, network: Network, required: str) -> None:
        self.found = network.architecture
        self._name = name
        self.network = network
        self._required = required
        if self.found.hidden:
            path = repr(self.network.path_of(self.found.hidden[0]))
            raise self.refused(
                f"{path}, whose `call` cannot be followed: it has kernels of its own, or uses "
                "more than layers and `keras.ops`"
            )

    def refused(self, evidence: str) -> ValueError:
        """Return the error for a model, with what was found in it that does not fit."""
        return ValueError(
            f"`{self._name}` must be {self._required}; otherwise write your own rules. "
            f"Received: {self._name}={self.network.model.name!r} with {evidence}"
        )

    @property
    def branches(self) -> list[Branch]:
        """The residual branches, of which there is one."""
        if not self.found.branches:
            raise self.refused("no residual branch in its graph")
        if len(self.found.around) > 1:
            count = len(self.found.around)
            raise self.refused(f"{count} branches that have others in them; {self.described}")
        return self.found.branches

    def kernels_in(self, layers: Sequence[keras.Operation]) -> list[ModelWeight]:
        """Return the kernels of these layers, in their order."""
        kernels = []
        for layer in layers:
            for weight in self.network.weights_in(layer):
                if is_kernel(weight.variable):
                    kernels.append(weight)
        return kernels

    def last_kernel(self, branch: Branch) -> str:
        """Return the path of the kernel that ends a branch.

        Raises:
            ValueError: If it is not known which does.
        """
        if len(branch.last) != 1:
            names = quoted([self.network.path_of(layer) for layer in branch.last])
            raise self.refused(f"a branch that ends with the kernels of {names} side by side")
        (layer,) = branch.last
        if not isinstance(layer, _LAYERS):
            kind = type(layer).__name__
            raise self.refused(f"a branch that ends with {self.network.path_of(layer)!r}, a {kind}")
        return self.kernels_in([layer])[-1].path

    @property
    def positions(self) -> list[str]:
        """The paths of embeddings of positions, and of weights that are added to tensors."""
        tables = self.kernels_in(self.found.positions)
        return [weight.path for weight in tables] + self.network.paths_of(self.found.added)

    @property
    def feedforward_biases(self) -> list[str]:
        """The paths of the biases in branches without attention."""
        paths = []
        for branch in self.branches:
            if self.found.attention.keys().isdisjoint(branch.operations):
                for part in branch.operations:
                    paths += [w.path for w in self.network.weights_in(part) if w.name == "bias"]
        return paths

    @property
    def stacks(self) -> tuple[list[Branch], list[Branch]]:
        """The branches of an encoder, or of the only stack, and those of a decoder beside it.

        Raises:
            ValueError: If there is attention to another tensor, and no two stacks.
        """
        branches = self.branches
        crossing = set(self.found.crossing)
        if not crossing:
            return branches, []
        stacks: dict[int, list[Branch]] = {}
        with_crossing = set()
        for branch in branches:
            stacks.setdefault(branch.stream, []).append(branch)
            if not crossing.isdisjoint(branch.operations):
                with_crossing.add(branch.stream)
        if len(stacks) != 2 or len(with_crossing) != 1:
            raise self.refused(f"no encoder beside a decoder: {self.described}")
        decoder = stacks.pop(with_crossing.pop())
        (encoder,) = stacks.values()
        return encoder, decoder

    def starts_of(self, stack: Sequence[Branch]) -> list[str]:
        """Return the paths of the embeddings and kernels that the first branch of a stack reads."""
        return [weight.path for weight in self.kernels_in(self.found.starts[stack[0].stream])]

    @property
    def unfitting(self) -> ValueError:
        """The error for a transformer of another order, with the recipes for that."""
        order = self.found.normalizes_first
        place = "cross-attention and " if self.found.crossing else ""
        if not self.found.attends:
            return self.refused(self.described)
        if order:
            place += "a normalization before each branch"
            fitting = "`zero_residual`" if self.found.crossing else "`gpt2`"
        elif order is False:
            place += "a normalization after each sum"
            fitting = "`deepnorm`" if self.found.crossing else "`bert` or `deepnorm`"
        elif not self.network.norms:
            place += "no normalization"
            fitting = "`t_fixup`"
        else:
            return self.refused(self.described)
        return self.refused(f"{place}: use {fitting}; {self.described}")

    def zeros_at_ends(self) -> Recipe:
        """Return rules by which each branch starts at 0: of its last normalization or kernel.

        Raises:
            ValueError: If a branch would stay 0, or does not start at 0.
        """
        rules: Recipe = {}
        for branch in self.branches:
            path = None
            for operation in branch.after:  # from the sum on
                path = self._scale_of(operation)
                if path is not None:
                    break
                if operation in self.found.scales:
                    raise self.refused("a weight that scales a branch: let that one start at 0")
                self._check_is_open(operation, branch)
            if path is None:
                path = self.last_kernel(branch)
                self._check_is_open(branch.last[0], branch)
            rules[path] = "zeros"
        return rules

    def _scale_of(self, operation: keras.Operation) -> str | None:
        """Return the path of the scale of a normalization."""
        if not normalizes(operation):
            return None
        for weight in self.network.weights_in(operation):
            if weight.name in ("gamma", "scale"):
                return weight.path
        return None

    def _check_is_open(self, operation: keras.Operation, branch: Branch) -> None:
        """Raise `ValueError` unless an operation at the end of a branch passes gradients at 0."""
        kind = type(operation).__name__
        activation = None
        if isinstance(operation, keras.Layer):
            activation = activation_name(operation)
        elif not kind.startswith(_LINEAR):
            activation = kind
        is_linear = kind.startswith(_LINEAR) or normalizes(operation)
        is_linear |= multiplies_by_kernel(operation)
        if activation is None and is_linear:
            return
        if activation is not None and activation.replace("_", "").lower() in _OPEN_AT_0:
            return
        ends = quoted([self.network.path_of(layer) for layer in branch.last])
        raise self.refused(
            f"a branch that ends with {activation or kind} at {ends}: zeros there would get no "
            "gradient, or give no zeros"
        )

    def recognized(self, rules: Recipe) -> Recipe:
        """Return rules with what was found in the graph, which the plan shows."""
        lines = [f"  {part}" for part in self.network.recognized]
        return NotedRules(rules, ("Recognized in the graph of the model:", *lines))

    @property
    def described(self) -> str:
        """What was found, in words."""
        return "; ".join(self.network.recognized)
