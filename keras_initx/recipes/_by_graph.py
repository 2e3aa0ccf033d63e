"""What weights are for by the graph of the model, whatever the names of its layers."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import keras

from keras_initx._checks import quoted
from keras_initx.initializers._activations import activation_facts
from keras_initx.recipes._by_names import NAMES_IN_BRANCHES, role_in
from keras_initx.recipes._parts import Part, Roles
from keras_initx.structure._architecture import ATTENTION, Architecture
from keras_initx.structure._branches import Branch
from keras_initx.structure._hooks import activation_name
from keras_initx.structure._kernels import (
    ALL_CONVOLUTIONS,
    is_kernel,
    multiplies_by_kernel,
    normalizes,
)
from keras_initx.structure._names import layer_paths

# Layers of which the last kernel makes the outputs.
_LAYERS = (
    *ALL_CONVOLUTIONS,
    *ATTENTION,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.TimeDistributed,
)
# Roles by names that the graph corrects.
_BY_GRAPH = ("logits", "positions", "sines", "tokens")
# What gives the weights of experts.
_WEIGHTS = ("Sigmoid", "Softmax", "TopK")
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


class ByGraph:
    """Gives weights the roles that the graph of the model tells.

    Args:
        roles: What is known of the model, which is added to.
        found: What its graph shows.
    """

    def __init__(self, roles: Roles, found: Architecture) -> None:
        self._roles = roles
        self._found = found
        self._downs = {gate.down for gate in found.gates}
        self._paths = layer_paths(roles.model)
        self._parts = {id(part.weight.variable): part for part in roles.parts}
        # Those of which the names tell what the graph cannot.
        self._named = {
            id(part) for part in roles.parts if part.role not in (part.by_name, *_BY_GRAPH)
        }

    def ends(self) -> set[str]:
        """Return the paths of the kernels that end branches, as far as they are known."""
        paths: set[str] = set()
        for branch in self._found.branches:
            for layer in self._ends(branch):
                paths.update(part.weight.path for part in self._kernels([layer])[-1:])
        return paths

    def outputs(self) -> set[str]:
        """Return the paths of the kernels after which no other comes."""
        return {part.weight.path for part in self._kernels(self._found.outputs)}

    def read(self) -> None:
        """Give the weights in branches their roles."""
        found = self._found
        roles = self._roles
        has_patches = any(part.role == "patches" for part in roles.parts)
        for part in roles.parts:
            named = role_in(NAMES_IN_BRANCHES, part.weight)
            if not (found.hidden or not found.branches or has_patches):
                if part.role in ("positions", "tokens"):
                    part.role = part.by_name
            elif named in ("inner bias", "last"):
                part.role = named
        roles.branches = len(found.branches)
        if found.hidden:
            layer, reason = next(iter(found.hidden.items()))
            roles.unknown = f"{self._path(layer)!r}, whose `call` cannot be followed: {reason}"
        elif not found.branches:
            roles.unknown = "no residual branch in its graph"
        elif len(found.around) > 1:
            roles.unknown = f"{len(found.around)} branches that have others in them"
        for part in self._kernels(found.tokens):
            if part.role == part.by_name:
                part.role = "tokens"
        decoder = self._decoder()
        for branch in found.branches:
            self._take_branch(branch, int(found.streams[branch] == decoder))
        for branch in found.branches:
            self._give("shortcut", self._kernels(branch.shortcut))
        if not roles.uneven:
            roles.blocks = self._blocks(0, 1), self._blocks(1, 2)

    def take_gates(self) -> None:
        """Give the kernels around gates their roles, where names do not tell others."""
        for gate in self._found.gates:
            given = {
                "gate and up" if gate.up is gate.gate else "gate": gate.gate,
                "up": gate.up,
                "outer": gate.down,
            }
            for role, layer in given.items():
                for part in self._kernels([layer]):
                    if part.role in (part.by_name, "inner"):
                        part.role = role

    def number_blocks(self) -> None:
        """Count the blocks: a sum to which attention is added, and at most one without it."""
        number = 0
        attends = False
        self._roles.unnumbered = ""
        for _, group in itertools.groupby(self._found.branches, lambda branch: branch.total):
            branches = list(group)
            parts = [part for branch in branches for part in self._kernels(branch.operations)]
            attended = attends
            attends = any(part.role == "attended" for part in parts)
            number += attends
            for part in parts:
                part.block = number
            if not (attends or attended):
                self._roles.unnumbered = (
                    "no attention right before the branch that ends with "
                    f"{self._ends_of(branches[0])}"
                )

    def take_ends_of_model(self, *, is_by_graph: bool) -> None:
        """Give the first and last kernels and the positions their roles, where names do not.

        Args:
            is_by_graph: Whether roles in branches are by the graph.
        """
        found = self._found
        is_named = "patches" in {part.role for part in self._roles.parts}
        added = {id(variable) for variable in found.added}
        positions = [part for key, part in self._parts.items() if key in added]
        positions += self._kernels(found.positions)
        ends = {"tokens": self._kernels(found.tokens), "positions": positions}
        if not is_named and not any(part.depth for part in self._roles.parts if not is_by_graph):
            ends["patches"] = self._kernels(
                layer for layer in found.inputs if layer not in found.tokens
            )
            # A table of tokens that makes the logits too stays one.
            ends["last"] = [p for p in self._kernels(found.outputs) if p.role != "tokens"]
        for role, parts in ends.items():
            for part in parts:
                if part.role == "modulation":
                    continue
                if part.role == part.by_name or (role != "tokens" and is_by_graph):
                    self._give(role, [part])
        kernels = {id(part.weight) for part in ends.get("patches", [])}
        for part in self._roles.parts:
            if id(part.kernel) in kernels:
                part.role = "patch bias"

    def _take_branch(self, branch: Branch, stack: int) -> None:
        found = self._found
        kernels = self._kernels(branch.operations)
        for part in kernels:
            part.in_branch = True
        layers = [layer for layer in branch.operations if layer in found.attention]
        ends = self._ends(branch)
        attends = bool(layers) or (branch.weighs and not self._downs.intersection(ends))
        for part in kernels:
            part.stack, part.depth = stack, branch.depth or 0
            if part.role == part.by_name:  # its name does not tell, such as a gate
                part.role = "value" if attends else "inner"
            if layers and part.weight.layer.name in ("query", "key"):
                part.role = part.weight.layer.name
        if not attends:
            inside = self._inside(branch.operations)
            self._give("inner bias", [part for part in inside if part.by_name == "bias"])
        end = [part for layer in ends for part in self._kernels([layer])[-1:]]
        text = self._unknown_end(branch)
        if text:
            self._roles.unknown = self._roles.unknown or text
            end = []
        self._give("attended" if attends else "outer", end)
        if attends and not layers:
            self._roles.uneven = self._roles.uneven or (
                f"attention that is no layer in the branch that ends with {self._ends_of(branch)}, "
                "of which it is not known what queries and what values are"
            )
        elif len(layers) > 1 or len(kernels) != (4 if layers else 2):
            self._roles.uneven = self._roles.uneven or (
                f"{len(kernels)} kernels in the branch that ends with {self._ends_of(branch)}, "
                "which must have an attention layer alone or two kernels"
            )
        if (branch.depth or 0) < 2:
            self._roles.parallel = self._roles.parallel or (
                f"kernels side by side, or one alone, in the branch that ends with "
                f"{self._ends_of(branch)}, which must have at least 2 one after another"
            )
        self._close(branch, end)

    def _ends(self, branch: Branch) -> Sequence[keras.Operation]:
        """Return the layers of which a branch adds the outputs, not those that weigh experts."""
        experts = [layer for layer in branch.last if layer in self._downs]
        others = [layer for layer in branch.last if layer not in self._downs]
        weighs = [type(part).__name__ for part in branch.after if type(part).__name__ in _WEIGHTS]
        weighs += [kind for layer in others if (kind := _activation(layer)) in _WEIGHTS]
        return experts if experts and weighs else branch.last

    def _unknown_end(self, branch: Branch) -> str:
        """Return why it is not known which kernel ends a branch, or an empty text."""
        ends = self._ends(branch)
        if len(ends) != 1 and not self._downs.issuperset(ends):
            return f"a branch that ends with the kernels of {self._ends_of(branch)} side by side"
        for layer in ends:
            if not isinstance(layer, _LAYERS):
                return f"a branch that ends with {self._path(layer)!r}, a {type(layer).__name__}"
        return ""

    def _close(self, branch: Branch, end: list[Part]) -> None:
        """Find the weight by which a branch starts at 0.

        It is that of its last normalization or kernel, or the kernel that modulates it.
        """
        modulations = self._inside(branch.modulations)
        self._give("modulation", [part for part in modulations if part.by_name == "kernel"])
        self._give("modulation bias", [part for part in modulations if part.by_name == "bias"])
        if branch.modulations:
            return
        closed = ""
        for operation in branch.after:  # from the sum on
            scales = [part for part in self._inside([operation]) if part.weight.name != "beta"]
            if normalizes(operation) and scales and scales[0].weight.name in ("gamma", "scale"):
                end = scales[:1]
                break
            if operation in self._found.scales:
                closed = "a weight that scales a branch: let that one start at 0"
            closed = closed or self._closes_at(operation, branch)
        else:
            for layer in self._ends(branch):
                closed = closed or self._closes_at(layer, branch)
        for part in end:
            part.closes = True
        self._roles.closed = self._roles.closed or closed

    def _closes_at(self, operation: keras.Operation, branch: Branch) -> str:
        """Return why zeros before an operation at the end of a branch would stay, if they do."""
        kind = type(operation).__name__
        activation = None
        if isinstance(operation, keras.Layer):
            activation = activation_name(operation)
        elif not kind.startswith(_LINEAR):
            activation = kind
        is_linear = kind.startswith(_LINEAR) or normalizes(operation)
        is_linear |= multiplies_by_kernel(operation)
        if activation is None and is_linear:
            return ""
        if activation_facts(activation).opens:
            return ""
        return (
            f"a branch that ends with {activation or kind} at {self._ends_of(branch)}: zeros there "
            "would get no gradient, or give no zeros"
        )

    def _decoder(self) -> int | None:
        """Return the number of the stream of a decoder beside an encoder."""
        found = self._found
        streams = {found.streams[branch] for branch in found.branches}
        decoders = {found.streams[one] for one in found.branches if one in found.crosses}
        if not decoders and not found.crossing:
            return None
        if len(streams) != 2 or len(decoders) != 1:
            self._roles.uneven = "no encoder beside a decoder"
            return None
        (decoder,) = decoders
        (encoder,) = streams - decoders
        shared = {id(part) for part in self._kernels(found.starts[encoder])}
        for part in self._kernels(found.starts[decoder]):
            if part.role == "tokens" and id(part) not in shared:
                part.stack = 1
        return decoder

    def _blocks(self, stack: int, attentions: int) -> int:
        """Return the number of blocks of a stack, which have so many branches with attention."""
        roles = Counter(part.role for part in self._roles.parts if part.stack == stack)
        blocks = roles["outer"]
        if roles["attended"] != attentions * blocks:
            self._roles.uneven = (
                f"{roles['attended']} branches with attention and {blocks} without, which must be "
                + ("as many" if attentions == 1 else "half as many in a decoder beside an encoder")
            )
        return blocks

    def _give(self, role: str, parts: Iterable[Part]) -> None:
        """Give weights a role, where their names do not tell another."""
        for part in parts:
            if id(part) not in self._named:
                part.role = role

    def _inside(self, layers: Iterable[keras.Operation]) -> list[Part]:
        """Return the weights of layers and of those in them."""
        parts = []
        for layer in layers:
            if isinstance(layer, keras.Layer):
                inside = {id(variable) for variable in layer.weights}
                parts += [part for key, part in self._parts.items() if key in inside]
        return parts

    def _kernels(self, layers: Iterable[keras.Operation]) -> list[Part]:
        """Return the kernels of layers, without weights that only may be some by their shape."""
        return [
            part
            for part in self._inside(layers)
            if part.by_name in ("kernel", "embeddings") and is_kernel(part.weight.variable)
        ]

    def _path(self, layer: keras.Operation) -> str:
        """Return the path of a layer, and the name of another operation."""
        if isinstance(layer, keras.Layer) and layer in self._paths:
            return self._paths[layer]
        return str(layer.name)

    def _ends_of(self, branch: Branch) -> str:
        return quoted([self._path(layer) for layer in self._ends(branch)])

    def described(self) -> list[str]:
        """Return what was found, in words."""
        found = self._found
        ends = [self._path(layer) for branch in found.branches for layer in self._ends(branch)]
        lines = ["no residual branch"]
        if ends:
            lines = [f"residual branches: {len(found.branches)}, which end with {quoted(ends)}"]
            sums = {branch.begin for branch in found.branches}
            if len(found.branches) == 2 * len(sums):
                lines[0] += ", two in each sum"
        stacks = Counter(found.streams[branch] for branch in found.branches)
        if found.crossing and len(stacks) > 1:
            counts = " and ".join(map(str, stacks.values()))
            lines.append(f"stacks: {len(stacks)}, of {counts} branches")
        if found.normalizes_first is not None:
            place = "before each branch" if found.normalizes_first else "after each sum"
            lines.append(f"normalization: {place}")
        kinds = {
            "attention": [layer for layer in found.attention if layer not in found.crossing],
            "cross-attention": found.crossing,
            "gates": [gate.gate for gate in found.gates],
            "modulations": [layer for branch in found.branches for layer in branch.modulations],
            "embeddings of tokens": found.tokens,
            "embeddings of positions": found.positions,
            "first kernels": [layer for layer in found.inputs if layer not in found.tokens],
            "last kernels": found.outputs,
        }
        for words, layers in kinds.items():
            if layers:
                names = [self._path(layer) for layer in dict.fromkeys(layers)]
                lines.append(f"{words}: {quoted(names)}")
        added = [self._parts[id(variable)].weight.path for variable in found.added]
        if added:
            lines.append(f"weights that are added: {quoted(list(dict.fromkeys(added)))}")
        return lines


def _activation(layer: keras.Operation) -> str:
    """Return the activation of a layer, as its operation is called."""
    return ((isinstance(layer, keras.Layer) and activation_name(layer)) or "").capitalize()
