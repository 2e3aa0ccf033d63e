"""What each weight of a model is for, by the names of its layers or by its graph."""

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import keras

from keras_initx._checks import check_type, quoted, similar_paths
from keras_initx._keras import is_of_keras
from keras_initx._suggestions import did_you_mean
from keras_initx._typing import RolesGiven, Shape
from keras_initx.recipes._features import features_of
from keras_initx.structure import (
    ATTENTION,
    Architecture,
    Branch,
    ModelWeight,
    activation_name,
    architecture_of,
    find_weights,
    is_kernel,
    layer_paths,
    matches_path,
    matching_paths,
    multiplies_by_kernel,
    normalizes,
)

# How KerasHub calls weights of which no graph tells what they are; the first pattern that matches.
# Each ends with the whole name of the weight.
NAMES = (
    ("*encoder_position_embedding/embeddings", "sines"),
    ("*position_embedding/embeddings", "positions"),
    ("class_token", "class"),
    ("*/class_token", "class"),
    ("*patch_embedding/kernel", "patches"),
    ("*patch_embedding/bias", "patch bias"),
    ("*token_embedding/embeddings", "tokens"),
    ("*/reverse_embeddings", "logits"),
    ("*/rel_embedding", "relative positions"),
    ("*self_attention/embeddings", "relative positions"),
    ("*query_projector/kernel", "unscaled query"),
    ("*encoder_token_embedding_conv_layer_1/kernel", "frames"),
    ("*decoder_block_*/ffw_gating/kernel", "gate"),
    ("*feedforward_gate_dense/kernel", "gate"),
    ("*/expert_feedforward_gate_dense", "gate"),
    ("*/expert_feedforward_intermediate_dense", "expert"),
    ("*/expert_feedforward_output_dense", "expert"),
)
# The names of weights that only recipes of their own know; all others leave those that no layer of
# Keras has.
NAMES_OF_THEIR_OWN = {
    "A_log": "A_log",
    "dt_bias": "dt_bias",
    "D": "D",
    "lora_kernel_a": "LoRA A",
    "lora_embeddings_a": "LoRA A",
    "lora_kernel_b": "LoRA B",
    "lora_embeddings_b": "LoRA B",
}
# How KerasHub, `keras.applications` and Keras' attention call the weights of branches.
NAMES_IN_BRANCHES = (
    ("*/query/kernel", "query"),
    ("*/key/kernel", "key"),
    ("*/value/kernel", "value"),
    ("*/attention_output/kernel", "attended"),
    ("*/feedforward_intermediate_dense/kernel", "inner"),
    ("*/feedforward_output_dense/kernel", "outer"),
    ("*/mlp/dense/kernel", "inner"),
    ("*/mlp/dense_1/kernel", "outer"),
    ("*mlp/bias", "inner bias"),
    ("*mlp/*/bias", "inner bias"),
    ("*feedforward_*_dense/bias", "inner bias"),
    ("*_block*_conv/kernel", "shortcut"),  # but for those that `_CONVOLUTION` finds
    ("*predictions/kernel", "last"),
)
# The place of a convolution in its branch; number 0 is on the shortcut.
_CONVOLUTION = re.compile(r"(.*_block.*)_([1-9]\d*)_conv/kernel")
# What a weight is by its own whole name, where nothing else is known. The names are those in Keras,
# and those in KerasHub that say as much.
_OWN_NAMES = {
    **dict.fromkeys(
        ("kernel", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel", "output_kernel"),
        "kernel",
    ),
    **dict.fromkeys(("bias", "output_bias"), "bias"),
    **dict.fromkeys(("embeddings", "reverse_embeddings"), "embeddings"),
    **dict.fromkeys(("gamma", "beta", "scale", "alpha"), "scale"),
    # Which subclasses of Keras' layers have too.
    **dict.fromkeys(("moving_mean", "moving_variance"), "other"),
    **dict.fromkeys(("lora_kernel_a", "lora_kernel_b"), "other"),
    **dict.fromkeys(("lora_embeddings_a", "lora_embeddings_b"), "other"),
}
# All roles, each with what a weight of it is by its own name.
ROLES = {
    **dict.fromkeys(("kernel", "patches", "last", "shortcut", "logits", "frames"), "kernel"),
    **dict.fromkeys(("query", "unscaled query", "key", "value", "attended"), "kernel"),
    **dict.fromkeys(("inner", "gate", "up", "gate and up", "outer", "expert"), "kernel"),
    "modulation": "kernel",
    **dict.fromkeys(("embeddings", "tokens", "positions", "sines"), "embeddings"),
    **dict.fromkeys(("class", "relative positions"), "embeddings"),
    **dict.fromkeys(("bias", "inner bias", "patch bias", "modulation bias"), "bias"),
    "scale": "scale",
}
# What a weight of a role is too.
_WIDER = {"up": ("inner",), "gate and up": ("gate", "inner")}
# Layers of Keras whose weights are those of other packages.
_FOREIGN = (keras.layers.JaxLayer, keras.layers.TFSMLayer, keras.layers.TorchModuleWrapper)
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


@dataclass
class Part:
    """A weight and what it is for.

    Attributes:
        weight: The weight.
        role: What it is for, a key of the tables of recipes.
        by_name: What it is by its own name alone: a kernel, a bias, embeddings, a scale, what only
            its layer initializes ("other"), or unknown.
        kernel: The kernel of its layer, of a bias.
        in_branch: Whether it is in a branch, by the graph.
        block: The number of its block, from 1, if it is in one.
        stack: Which stack of blocks it is in, 1 in a decoder beside an encoder and otherwise 0.
        depth: The number of kernels of its branch, one after another.
        closes: Whether its branch starts at 0 if it does.
    """

    weight: ModelWeight
    role: str
    by_name: str
    kernel: ModelWeight | None = None
    in_branch: bool = False
    block: int = 0
    stack: int = 0
    depth: int = 0
    closes: bool = False

    @property
    def is_unknown(self) -> bool:
        """Whether it is not known what it is for, but perhaps by a recipe of its own."""
        roles = ("unknown", *NAMES_OF_THEIR_OWN.values())
        return self.by_name == "unknown" and self.role in roles


@dataclass
class Roles:
    """The parts of a model.

    Attributes:
        model: The model.
        parts: All weights.
        has: What the model has, with the paths of examples: roles, and kinds of layers.
        branches: The number of residual branches.
        blocks: The number of blocks of the only stack, or of an encoder and of its decoder.
        is_by_graph: Whether roles in branches are by the graph.
        notes: What was found in the graph, as lines of text.
        unknown: Why it is not known how branches end, or an empty text.
        parallel: Which branch has no depth, or less than 2.
        uneven: Why it is not known what a block is.
        closed: Which branch cannot start at 0.
        unnumbered: Why it is not known which block a branch is in.
        given: What the user says, as lines of text.
    """

    model: keras.Model
    parts: list[Part]
    has: dict[str, list[str]]
    branches: int = 0
    blocks: tuple[int, int] = (0, 0)
    is_by_graph: bool = False
    notes: list[str] = field(default_factory=list)
    unknown: str = ""
    parallel: str = ""
    uneven: str = ""
    closed: str = ""
    unnumbered: str = "a graph that cannot be followed"
    given: list[str] = field(default_factory=list)

    def shape_of(self, role: str) -> Shape:
        """Return the shape of the first weight of a role."""
        return next(part.weight.shape for part in self.parts if part.role == role)


def roles_of(model: keras.Model, given: RolesGiven | None = None) -> Roles:
    """Return what each weight of a built model is for.

    Args:
        model: A built model.
        given: Patterns of weights, by the roles that they have whatever is found.

    Raises:
        TypeError: If `given` is no dict from texts to patterns.
        ValueError: If a role is unknown, or a pattern matches no weight.

    Roles in branches are all by names, or all by the graph: by names if those of the table are
    there, and the graph, as far as it can be followed, has no other ends of branches.
    """
    weights = find_weights(model)
    by_path = {weight.path: weight for weight in weights}
    parts = []
    for weight in weights:
        by_name = _by_name(weight)
        kernel = None
        if by_name == "bias":
            kernel = by_path.get(weight.path.removesuffix("bias") + "kernel")
        role = _named(NAMES, weight) or NAMES_OF_THEIR_OWN.get(weight.name, by_name)
        parts.append(Part(weight, role, by_name, kernel))
    found = architecture_of(model)
    roles = Roles(model, parts, features_of(model, weights, found))
    graph = _Graph(roles, found)
    ends = graph.ends()
    outputs = graph.outputs()
    if _are_named(roles, ends, outputs, is_followed=bool(not found.hidden)):
        _take_names(roles)
    else:
        roles.is_by_graph = True
        only_names = bool(found.hidden or not found.branches or "patches" in map(_role, parts))
        for part in parts:
            named = _named(NAMES_IN_BRANCHES, part.weight)
            if only_names and named in ("inner bias", "last"):
                part.role = named
            elif not only_names and part.role in ("positions", "tokens"):
                part.role = part.by_name
        graph.take_branches()
    graph.take_gates()
    if found.branches and not found.hidden:
        graph.take_ends_of_model()
        graph.number_blocks()
    if not found.hidden:
        roles.notes = graph.described()
    if given is not None:
        _take_given(roles, given)
    for part in parts:
        for role in (part.role, *_WIDER.get(part.role, ())):
            roles.has.setdefault(role, []).append(part.weight.path)
    return roles


def _take_given(roles: Roles, given: RolesGiven) -> None:
    """Give weights the roles that the user says. The first pattern that matches counts."""
    check_type("roles", given, Mapping, "a dict from roles to patterns")
    parts = {part.weight.path: part for part in roles.parts}
    taken: dict[str, str] = {}
    for role, value in given.items():
        patterns = [value] if isinstance(value, str) else value
        if not isinstance(patterns, list | tuple) or not all(isinstance(p, str) for p in patterns):
            raise TypeError(
                "`roles` must have a pattern or a list of patterns for each role. "
                f"Received: {value!r} for {role!r}"
            )
        if role not in ROLES:
            similar = did_you_mean(map(repr, difflib.get_close_matches(str(role), ROLES)))
            raise ValueError(
                f"`roles` must have keys among {', '.join(map(repr, ROLES))}. "
                f"Received: {role!r}{similar}"
            )
        for pattern in patterns:
            matching = matching_paths(pattern, parts)
            if not matching:
                raise ValueError(
                    "`roles` must have patterns that match weights. Received: "
                    f"{pattern!r} for {role!r}{similar_paths(pattern, list(parts))}"
                )
            for path in matching:
                taken.setdefault(path, role)
    for path, role in taken.items():
        part = parts[path]
        part.role = role
        if part.by_name not in ("kernel", "bias", "embeddings"):
            part.by_name = ROLES[role]
    ends = [parts[path] for path, role in taken.items() if role in ("attended", "outer")]
    if ends and roles.unknown:
        roles.unknown, roles.branches = "", len(ends)
        for part in ends:
            part.closes = True
    roles.given = [
        f"{role}: {quoted([path for path in taken if taken[path] == role])}" for role in given
    ]


def _activation(layer: keras.Operation) -> str:
    """Return the activation of a layer, as its operation is called."""
    return ((isinstance(layer, keras.Layer) and activation_name(layer)) or "").capitalize()


def _role(part: Part) -> str:
    return part.role


def _by_name(weight: ModelWeight) -> str:
    """Return what a weight is by its own name, or in a layer of Keras, which knows its weights."""
    layer = weight.layer
    if weight.name == "weight" and normalizes(layer):
        return "scale"
    is_known = is_of_keras(type(layer)) and not isinstance(layer, _FOREIGN)
    return _OWN_NAMES.get(weight.name, "other" if is_known else "unknown")


def _named(names: Iterable[tuple[str, str]], weight: ModelWeight) -> str | None:
    """Return the role of a weight by its path, if it is known."""
    for pattern, role in names:
        if matches_path(pattern, weight.path):
            return role
    return None


def _are_named(roles: Roles, ends: set[str], outputs: set[str], *, is_followed: bool) -> bool:
    """Return whether the names tell which kernels end branches, of all that the graph has."""
    paths = [part.weight.path for part in roles.parts]
    convolutions = {end for end, _, _ in _convolutions(paths).values()}
    if convolutions:
        # The graph cannot tell a branch beside a kernel from two ways to the outputs.
        in_graph = bool(ends) and ends <= convolutions <= ends | outputs
        return not is_followed or in_graph
    named: dict[str | None, set[str]] = {}
    for part in roles.parts:
        named.setdefault(_named(NAMES_IN_BRANCHES, part.weight), set()).add(part.weight.path)
    if not {"attended", "outer"} <= named.keys():
        return False
    return not is_followed or ends <= named["attended"] | named["outer"]


def _convolutions(paths: Sequence[str]) -> dict[str, tuple[str, str, int]]:
    """Return the branches of convolutions by names.

    Each has the path of its last kernel, that of the weight that closes it, and its depth.
    """
    places: dict[str, int] = {}
    for path in paths:
        match = _CONVOLUTION.fullmatch(path)
        if match:
            places[match[1]] = max(places.get(match[1], 0), int(match[2]))
    found = {}
    for prefix, depth in places.items():
        end = f"{prefix}_{depth}_conv/kernel"
        scale = f"{prefix}_{depth}_bn/gamma"
        found[prefix] = end, scale if scale in paths else end, depth
    return found


def _take_names(roles: Roles) -> None:
    """Give the weights in branches the roles that their names tell."""
    branches = _convolutions([part.weight.path for part in roles.parts])
    ends = {end for end, _, _ in branches.values()}
    closing = {scale for _, scale, _ in branches.values()}
    for part in roles.parts:
        path = part.weight.path
        part.role = (
            _named(NAMES, part.weight) or _named(NAMES_IN_BRANCHES, part.weight) or part.role
        )
        match = _CONVOLUTION.fullmatch(path)
        if match:
            part.role = "outer" if path in ends else "inner"
            part.depth = branches[match[1]][2]
        part.closes = path in closing
        if not branches and part.role in ("attended", "outer"):
            part.closes = True
    outer = [part for part in roles.parts if part.role == "outer"]
    attended = [part for part in roles.parts if part.role == "attended"]
    # A block of a decoder beside an encoder has two branches of attention.
    roles.branches = len(outer) if branches else 2 * len(outer)
    decoder = [part for part in outer if "decoder" in part.weight.path]
    is_pair = 0 < len(decoder) < len(outer)
    roles.blocks = len(outer) - len(decoder) * is_pair, len(decoder) * is_pair
    if any(depth < 2 for _, _, depth in branches.values()):
        roles.parallel = "one kernel alone in a branch, which must have at least 2"
    if is_pair:
        for part in roles.parts:
            part.stack = int("decoder" in part.weight.path)
    elif "cross-attention" in roles.has and attended:
        roles.uneven = (
            "no decoder beside an encoder by their names: the paths of its weights, and only "
            "those, must contain 'decoder'"
        )


class _Graph:
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

    def take_branches(self) -> None:
        """Give the weights in branches their roles."""
        found = self._found
        roles = self._roles
        roles.branches = len(found.branches)
        if found.hidden:
            path = repr(self._path(found.hidden[0]))
            roles.unknown = (
                f"{path}, whose `call` cannot be followed: it has kernels of its own, or uses "
                "more than layers and `keras.ops`"
            )
        elif not found.branches:
            roles.unknown = "no residual branch in its graph"
        elif len(found.around) > 1:
            roles.unknown = f"{len(found.around)} branches that have others in them"
        for part in self._kernels(found.tokens):
            if part.role == part.by_name:
                part.role = "tokens"
        decoder = self._decoder()
        for branch in found.branches:
            self._take_branch(branch, int(branch.stream == decoder))
        for branch in found.branches:
            for part in self._kernels(branch.shortcut):
                part.role = "shortcut"
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
        """Count the blocks: each begins with a sum to which attention is added."""
        number = 0
        for _, group in itertools.groupby(self._found.branches, lambda branch: branch.addition):
            parts = [part for branch in group for part in self._kernels(branch.operations)]
            number += any(part.role == "attended" for part in parts)
            for part in parts:
                part.block = number
        is_known = all(part.block for part in self._parts.values() if part.role == "outer")
        self._roles.unnumbered = "" if is_known else "a branch before the first with attention"

    def take_ends_of_model(self) -> None:
        """Give the first and last kernels and the positions their roles, where names do not."""
        found = self._found
        is_named = "patches" in {part.role for part in self._roles.parts}
        is_by_graph = self._roles.is_by_graph
        added = {id(variable) for variable in found.added}
        positions = [part for key, part in self._parts.items() if key in added]
        positions += self._kernels(found.positions)
        ends = {"tokens": self._kernels(found.tokens), "positions": positions}
        if not is_named and not any(part.depth for part in self._roles.parts if not is_by_graph):
            ends["patches"] = self._kernels(
                layer for layer in found.inputs if layer not in found.tokens
            )
            ends["last"] = self._kernels(found.outputs)
        for role, parts in ends.items():
            for part in parts:
                if part.role == "modulation":
                    continue
                if part.role == part.by_name or (role != "tokens" and is_by_graph):
                    part.role = role
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
        softmax = not self._downs.intersection(ends) and any(
            type(part).__name__ == "Softmax" for part in branch.operations
        )
        for part in kernels:
            part.stack, part.depth = stack, branch.depth or 0
            if part.role == part.by_name:  # its name does not tell, such as a gate
                part.role = "value" if layers or softmax else "inner"
            if layers and part.weight.layer.name in ("query", "key"):
                part.role = part.weight.layer.name
        if not layers:
            for part in self._inside(branch.operations):
                if part.weight.name == "bias":
                    part.role = "inner bias"
        end = [part for layer in ends for part in self._kernels([layer])[-1:]]
        text = self._unknown_end(branch)
        if text:
            self._roles.unknown = self._roles.unknown or text
            end = []
        for part in end:
            part.role = "attended" if layers or softmax else "outer"
        if len(layers) > 1 or len(kernels) != (4 if layers else 2):
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
        for part in self._inside(branch.modulations):
            part.role = "modulation bias" if part.by_name == "bias" else "modulation"
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
        if activation is not None and activation.replace("_", "").lower() in _OPEN_AT_0:
            return ""
        return (
            f"a branch that ends with {activation or kind} at {self._ends_of(branch)}: zeros there "
            "would get no gradient, or give no zeros"
        )

    def _decoder(self) -> int | None:
        """Return the number of the stream of a decoder beside an encoder."""
        found = self._found
        crossing = set(found.crossing)
        streams = {branch.stream for branch in found.branches}
        decoders = {
            branch.stream for branch in found.branches if not crossing.isdisjoint(branch.operations)
        }
        if not crossing:
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
        stacks = Counter(branch.stream for branch in found.branches)
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
