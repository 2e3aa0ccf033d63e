"""Roles of weights by their paths, with the names of KerasHub, `keras.applications` and Keras."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from keras_initx._keras import is_from_keras, list_modules
from keras_initx.inspection._kernels import FIRST_FACTORS, FOREIGN, SECOND_FACTORS, normalizes
from keras_initx.inspection._names import split_automatic_name
from keras_initx.inspection._patterns import matches_path
from keras_initx.inspection._weights import ModelWeight
from keras_initx.recipes._parts import ENDS, Doubt, Part, Reading, Role

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
    ("*sparse_feedforward_gate_dense/kernel", "router"),
    ("*shared_expert_gate_dense/kernel", "router"),
    ("*feedforward_gate_dense/kernel", "gate"),
    ("*/expert_feedforward_gate_dense", "gate"),
    ("*/expert_feedforward_intermediate_dense", "expert"),
    ("*/expert_feedforward_output_dense", "outer expert"),
)
# How the code of authors calls weights, as layers or as attributes of layers.
NAMES_IN_CODE = (
    # Of state spaces with several states for each channel.
    ("*dt_proj/bias", "dt_bias"),
    ("*dt_proj/kernel", "dt kernel"),
    ("*pre_logits/kernel", "pre-logits"),
)
# The names of weights that only recipes of their own know; all others leave those that no layer of
# Keras has.
NAMES_OF_THEIR_OWN = {
    "A_log": "A_log",
    "dt_bias": "dt_bias",
    "D": "D",
    "cls_token": "class",
}
# How KerasHub, `keras.applications` and Keras' attention call the weights of branches.
NAMES_IN_BRANCHES = (
    ("*/query/kernel", "projection"),
    ("*/key/kernel", "projection"),
    ("*/rel_attn/encoding/kernel", "projection"),  # of relative positions, in XLNet
    ("*/value/kernel", "projection"),
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
    **dict.fromkeys((*FIRST_FACTORS, *SECOND_FACTORS), "other"),
}


def list_parts(weights: Sequence[ModelWeight]) -> list[Part]:
    """List weights with their kinds by their own names, which are their first roles."""
    by_path = {weight.path: weight for weight in weights}
    parts = []
    for weight in weights:
        by_name = _name_kind(weight)
        kernel = None
        if by_name == "bias":
            kernel = by_path.get(weight.path.removesuffix("bias") + "kernel")
        parts.append(Part(weight, Role(by_name), by_name, kernel))
    return parts


def find_role_by_path(weight: ModelWeight) -> str | None:
    """Find the role of a weight by its path or by the attributes that hold it, if known."""
    role = find_role(NAMES, weight)
    if role is None:
        *_, name = attributes = _attributes(weight)
        names = (
            (weight.name, name) if split_automatic_name(weight.name, "variable") else (weight.name,)
        )
        role = next((NAMES_OF_THEIR_OWN[one] for one in names if one in NAMES_OF_THEIR_OWN), None)
        for path in (weight.path, "/".join(attributes)):
            role = role or _match_role(NAMES_IN_CODE, path)
    return role


def _attributes(weight: ModelWeight) -> list[str]:
    """Name the attributes that hold the layers around a weight and the weight itself.

    A layer or weight that no attribute holds, for example one in a list, is listed by its name.
    """
    names = []
    held = [*weight.layers[1:], weight.variable]
    for around, value in zip(weight.layers, held, strict=True):
        attributes = {**vars(around), **list_modules(around)}
        own = [name for name, other in attributes.items() if other is value]
        names.append(own[0].lstrip("_") if own else value.name)
    return names


class ByNames:
    """Reads the roles of weights in branches from their names.

    Args:
        parts: The weights, with the roles that follow from their names alone.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._branches = _convolutions([part.weight.path for part in parts])

    @property
    def ends(self) -> set[str]:
        """The paths of the convolutions that end branches."""
        return {end for end, _, _ in self._branches.values()}

    def tells(self, ends: set[str], outputs: set[str], *, is_followed: bool) -> bool:
        """Return whether the names show the last kernel of each branch that the graph has.

        Args:
            ends: The paths of the kernels that end branches in the graph.
            outputs: The paths of the kernels that no other kernel follows.
            is_followed: Whether the whole graph is known.
        """
        convolutions = self.ends
        if convolutions:
            # The graph cannot tell a branch beside a kernel from two ways to the outputs.
            in_graph = bool(ends) and ends <= convolutions <= ends | outputs
            return not is_followed or in_graph
        roles = self.roles()
        named = {path for path, role in roles.items() if role.name in ENDS}
        kinds = {roles[path].name for path in named}
        if "attended" not in kinds or len(kinds) < 2:
            return False
        return not is_followed or ends <= named

    def nameless_kernel(self, hidden: Iterable[str]) -> str:
        """Find the path of a kernel in a block whose name does not show its role.

        The path is empty if each kernel has such a name. The path of a block is the common
        beginning of the paths of its attention and of its feed-forward network.

        Args:
            hidden: The paths of layers that cannot be followed.
        """
        roles = self.roles()
        blocks = {path for path in hidden if path}
        for path, role in roles.items():
            if role.name in ("outer", "outer expert"):
                blocks.add(self._block_of(path, roles))
        for part in self._parts:
            path = part.weight.path
            is_inside = any(path.startswith(f"{block}/") for block in blocks)
            if is_inside and roles[path].name == "kernel" and part.weight.axes is not None:
                return path
        return ""

    def _block_of(self, path: str, roles: Mapping[str, Role]) -> str:
        """Find the path of the block of a kernel that ends a network after attention."""
        own = path.split("/")[:-2]
        shared: list[str] = []
        for other, role in roles.items():
            if role.name == "attended":
                begin = _take_common_names(own, other.split("/")[:-2])
                shared = max(shared, begin, key=len)
        return "/".join(shared or own[:1])

    def roles(self) -> dict[str, Role]:
        """Read the role of each weight from its path."""
        branches = self._branches
        closing = {scale for _, scale, _ in branches.values()}
        roles = {}
        for part in self._parts:
            path = part.weight.path
            name = (
                find_role(NAMES, part.weight)
                or find_role(NAMES_IN_BRANCHES, part.weight)
                or part.role.name
            )
            depth = 0
            match = _CONVOLUTION.fullmatch(path)
            if match:
                name = "outer" if path in self.ends else "inner"
                depth = branches[match[1]][2]
            closes = path in closing
            if not branches and name in ENDS:
                closes = True
            roles[path] = Role(name, depth=depth, closes=closes)
        return roles

    def count(self, roles: Mapping[str, Role], *, hidden: Iterable[str], unseen: str) -> Reading:
        """Count branches in a model whose graph cannot be followed, for roles that names show.

        Args:
            roles: The role of each weight.
            hidden: The paths of layers that cannot be followed.
            unseen: The first of them, with the reason.
        """
        attended = [path for path, role in roles.items() if role.name == "attended"]
        outer = [path for path, role in roles.items() if role.name == "outer"]
        blocks = {self._block_of(path, roles) for path in outer}
        for path, role in roles.items():
            block = self._block_of(path, roles) if role.name == "outer expert" else ""
            if block and block not in blocks:
                blocks.add(block)
                outer.append(path)
        doubts = {Doubt.NUMBERS: "a graph that cannot be followed"}
        nameless = "" if self._branches else self.nameless_kernel(hidden)
        if nameless:
            doubts[Doubt.ENDS] = f"{nameless!r} in a block, whose role no name shows, and {unseen}"
        if any(depth < 2 for _, _, depth in self._branches.values()):
            doubts[Doubt.DEPTH] = "one kernel alone in a branch, which must have at least 2"
        branches = len(attended) + len(outer)
        counted = {path: replace(role, branches=branches) for path, role in roles.items()}
        notes = (f"Names of weights, not checked by the graph: {unseen}.",)
        return Reading(counted, doubts, notes)


def _take_common_names(path: Sequence[str], other: Sequence[str]) -> list[str]:
    """Take the names with which both paths begin."""
    found = []
    for one, two in zip(path, other, strict=False):
        if one != two:
            break
        found.append(one)
    return found


def _name_kind(weight: ModelWeight) -> str:
    """Name the kind of a weight by its own name, or as a layer of Keras declares it."""
    layer = weight.layer
    if weight.name == "weight" and normalizes(layer):
        return "scale"
    is_known = is_from_keras(type(layer)) and not isinstance(layer, FOREIGN)
    otherwise = "other" if is_known else "unknown"
    return _OWN_NAMES.get(weight.name, otherwise)


def find_role(names: Iterable[tuple[str, str]], weight: ModelWeight) -> str | None:
    """Find the role of a weight by its path, if the path shows it."""
    return _match_role(names, weight.path)


def _match_role(names: Iterable[tuple[str, str]], path: str) -> str | None:
    for pattern, role in names:
        if matches_path(pattern, path):
            return role
    return None


def _convolutions(paths: Sequence[str]) -> dict[str, tuple[str, str, int]]:
    """Find the branches of convolutions by names.

    Each branch has the path of its last kernel, the path of the weight that closes it, and its
    depth.
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
