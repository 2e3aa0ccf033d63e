"""Read the roles of weights from the graph of the model, whatever its layers are called.

In `x + dense_1(relu(dense(norm(x))))` names show two kernels. The graph shows more:

    dense/kernel      "inner": in a branch with a depth of 2 kernels
    dense_1/kernel    "outer": it ends the branch, and *closes* it: at 0, the branch starts at 0

Branches and streams are those of `_branches.py`. A *part* is a weight with its role, see
`_parts.py`. What the graph leaves open is a *doubt*. A recipe that must know it refuses the model.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import keras

from keras_initx._checks import quote_names
from keras_initx.inspection._architecture import Architecture
from keras_initx.inspection._branch_zeros import BranchRuns
from keras_initx.inspection._branches import Branch, merge_branches
from keras_initx.inspection._graph import Node, find_producers, node_and_ancestors
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._kernels import ALL_CONVOLUTIONS, is_kernel, normalizes
from keras_initx.inspection._operations import ATTENTION_LAYERS
from keras_initx.recipes._by_names import NAMES_IN_BRANCHES, find_role
from keras_initx.recipes._parts import ENDS, Doubt, Part, Reading, Role
from keras_initx.report._text import choose_verb

# Layers of which the last kernel makes the outputs.
_LAYERS = (
    *ALL_CONVOLUTIONS,
    *ATTENTION_LAYERS,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.TimeDistributed,
)
# Roles by names that the graph corrects.
_BY_GRAPH = ("logits", "positions", "sines", "tokens")

# Biases and shifts start at 0, scales and variances of normalizations at 1, whatever their values
# are now.
_ZERO_AT_FIRST = ("bias", "beta", "moving_mean")
_SCALES = ("gamma", "scale")
_ONE_AT_FIRST = (*_SCALES, "moving_variance")


class ClosingWeights(NamedTuple):
    """The weights that are 0 if a branch starts at 0.

    Attributes:
        parts: The weights at its end.
        modulations: The layers outside of the branch whose outputs multiply it.
        problem: Why these weights are not known, or an empty text.
    """

    parts: Sequence[Part] = ()
    modulations: Sequence[keras.Operation] = ()
    problem: str = ""


class ByGraph:
    """Reads the roles of weights from the graph of the model.

    Args:
        inventory: The layers and weights of the model.
        parts: Its weights, with the roles that follow from their names alone.
        architecture: The architecture of the model, read from its graph.
    """

    def __init__(
        self, inventory: Inventory, parts: Sequence[Part], architecture: Architecture
    ) -> None:
        self._parts = parts
        self._architecture = architecture
        self._paths = inventory.paths
        self._by_variable = {id(part.weight.variable): part for part in parts}
        self._closings: dict[Branch, ClosingWeights] = {}
        # Paths of weights whose names show a role that the graph cannot show.
        self._named = {
            part.weight.path for part in parts if part.role.name not in (part.by_name, *_BY_GRAPH)
        }

    @property
    def has_branches(self) -> bool:
        return bool(self._architecture.branches)

    def find_ends(self) -> set[str]:
        """Find the paths of the kernels that end branches, if they are known."""
        paths: set[str] = set()
        for branch in self._architecture.branches:
            paths.update(part.weight.path for part in self._list_end_kernels(branch))
        return paths

    def find_outputs(self) -> set[str]:
        """Find the paths of the kernels that no other kernel follows."""
        return {part.weight.path for part in self._list_kernels(self._architecture.outputs)}

    def list_hidden(self) -> list[str]:
        """List the paths of the layers that cannot be followed."""
        return [self._name_layer(layer) for layer in self._architecture.hidden]

    def describe_hidden(self) -> str:
        """Name the first hidden layer with the reason; an empty text if there is none."""
        if not self._architecture.hidden:
            return ""
        layer, reason = next(iter(self._architecture.hidden.items()))
        return f"{self._name_layer(layer)!r}, whose `call` cannot be followed: {reason}"

    def count_kernels_held(self) -> dict[int, int]:
        """Count the kernels in each fused weight, by the ids of variables."""
        held = {}
        for layer, number in self._architecture.fused_kernels.items():
            for part in self._list_kernels([layer])[-1:]:
                held[id(part.weight.variable)] = number
        return held

    # Read roles. Each method takes all roles and returns at least those that it changes.

    def read_own_names(self, roles: Mapping[str, Role]) -> dict[str, Role]:
        """Return tokens and positions to the roles of their own names, if the graph shows these."""
        if not self._shows_embeddings:
            return {}
        return {
            part.weight.path: Role(part.by_name)
            for part in self._parts
            if roles[part.weight.path].name in ("positions", "tokens")
        }

    def read_paths(self, roles: Mapping[str, Role]) -> dict[str, Role]:
        """Read "inner bias" and "last" from paths, if the graph does not show them."""
        if self._shows_embeddings:
            return {}
        named = {}
        for part in self._parts:
            name = find_role(NAMES_IN_BRANCHES, part.weight)
            if name in ("inner bias", "last"):
                named[part.weight.path] = Role(name)
        return named

    @cached_property
    def _shows_embeddings(self) -> bool:
        has_patches = any(part.role.name == "patches" for part in self._parts)
        if self._architecture.hidden or has_patches:
            return False
        return bool(self._architecture.branches)

    def read_tokens(self, roles: Mapping[str, Role]) -> dict[str, Role]:
        return {
            part.weight.path: Role("tokens")
            for part in self._list_kernels(self._architecture.tokens)
            if roles[part.weight.path].name == part.by_name
        }

    def read_branches(self, roles: Mapping[str, Role]) -> dict[str, Role]:
        """Read what weights are for in the branches that they are in."""
        changed = dict(roles)
        for branch in self._architecture.branches:
            self._set_roles_in_branch(branch, changed)
        return changed

    def _set_roles_in_branch(self, branch: Branch, roles: dict[str, Role]) -> None:
        """Set the roles of the weights of a branch."""
        # Experts weigh too, but `weighs` leaves out their routers.
        has_layer = any(layer in self._architecture.attention for layer in branch.operations)
        is_attention = has_layer or branch.weighs
        for part in self._list_kernels(branch.operations):
            path = part.weight.path
            name = roles[path].name
            if name == part.by_name:  # its name shows no other role, such as a gate
                name = "projection" if is_attention else "inner"
            roles[path] = replace(roles[path], name=name, depth=branch.depth or 0, in_branch=True)
        if not is_attention:
            inside = self._list_parts_inside(branch.operations)
            self._set_role("inner bias", [part for part in inside if part.by_name == "bias"], roles)
        if not self._explain_unknown_end(branch):
            role = "attended" if is_attention else "outer"
            self._set_role(role, self._list_end_kernels(branch), roles)
        self._mark_closing_weights(branch, roles)

    def read_named_branches(self, roles: Mapping[str, Role]) -> dict[str, Role]:
        """Read which weights are in branches, and what closes these, if names show the rest."""
        changed = dict(roles)
        for branch in self._architecture.branches:
            for part in self._list_parts_inside(branch.operations):
                path = part.weight.path
                depth = changed[path].depth or branch.depth or 0
                changed[path] = replace(changed[path], depth=depth, in_branch=True, closes=False)
            self._mark_closing_weights(branch, changed)
        return changed

    def _mark_closing_weights(self, branch: Branch, roles: dict[str, Role]) -> None:
        """Mark the weights that are 0 if a branch starts at 0."""
        closed = self._get_closing_weights(branch)
        modulations = self._list_parts_inside(closed.modulations)
        kernels = [part for part in modulations if part.by_name == "kernel"]
        self._set_role("modulation", kernels, roles)
        biases = [part for part in modulations if part.by_name == "bias"]
        self._set_role("modulation bias", biases, roles)
        for part in closed.parts:
            roles[part.weight.path] = replace(roles[part.weight.path], closes=True)

    def _get_closing_weights(self, branch: Branch) -> ClosingWeights:
        """Find the weights that are 0 if a branch starts at 0.

        If layers outside of the branch modulate it, these are their kernels. In any other branch it
        is the last normalization or the last kernel, with all weights that are added after it.
        """
        if branch not in self._closings:
            self._closings[branch] = self._find_closing_weights(branch)
        return self._closings[branch]

    def _find_closing_weights(self, branch: Branch) -> ClosingWeights:
        starts = list(branch.added.sources)  # the outputs of the last kernels
        parts = [] if self._explain_unknown_end(branch) else self._list_end_kernels(branch)
        is_scaled = False
        for operation in branch.after:  # backward, from the sum to the last kernels
            norm_scales = [
                part for part in self._list_parts_inside([operation]) if part.weight.name in _SCALES
            ]
            if normalizes(operation) and norm_scales:
                starts = [node for node in branch.added.after if node.producer is operation]
                parts = norm_scales[:1]
                break
            if operation in self._architecture.scales:
                is_scaled = True
                break
        closing = self._runs.closing(branch, starts)
        modulations = find_producers(closing.sides)
        if not closing.has_ends and modulations:
            return ClosingWeights(modulations=modulations)
        if is_scaled:
            return ClosingWeights(problem="a weight that scales a branch: let that one start at 0")
        if not parts:
            return ClosingWeights()
        if closing.problem:
            return ClosingWeights(parts, problem=self._explain_obstacle(branch, closing.problem))
        return ClosingWeights(parts, modulations)

    def _explain_obstacle(self, branch: Branch, problem: str) -> str:
        return (
            f"a branch that ends with {problem} at {self._name_ends(branch)}: zeros there "
            "would get no gradient, or give no zeros"
        )

    @cached_property
    def _runs(self) -> BranchRuns:
        architecture = self._architecture
        # All tensors of streams: back from the begin of each branch, past branches along their
        # stream.
        streams: set[Node] = set()
        sums = {
            branch.total: branch
            for branch in (*architecture.branches, *architecture.outer_branches)
        }
        open_nodes = [branch.begin[0] for branch in sums.values()]
        while open_nodes:
            node = open_nodes.pop()
            if node not in streams:
                streams.add(node)
                open_nodes += [sums[node].stream] if node in sums else node.inputs
        fresh = []
        for weight in (part.weight for part in self._parts):
            variable = weight.variable
            if weight.name in _ZERO_AT_FIRST:
                fresh.append((variable, keras.ops.zeros(variable.shape, variable.dtype)))
            elif weight.name in _ONE_AT_FIRST and normalizes(weight.layer):
                fresh.append((variable, keras.ops.ones(variable.shape, variable.dtype)))
        return BranchRuns(architecture.calls, streams, fresh)

    def read_shortcuts(self, roles: Mapping[str, Role]) -> dict[str, Role]:
        changed = dict(roles)
        for branch in self._architecture.branches:
            self._set_role("shortcut", self._list_kernels(branch.shortcut), changed)
        return changed

    def read_gates(self, roles: Mapping[str, Role]) -> dict[str, Role]:
        """Read the roles of the kernels around gates, unless names show another role."""
        changed: dict[str, Role] = {}
        for gate in self._architecture.gates:
            given = {"gate": gate.gate, "up": gate.up, "outer": gate.down}
            if gate.up is gate.gate:
                given = {"gate and up": gate.gate, "outer": gate.down}
            for name, layer in given.items():
                for part in self._list_kernels([layer]):
                    role = changed.get(part.weight.path, roles[part.weight.path])
                    if role.name in (part.by_name, "inner"):
                        changed[part.weight.path] = replace(role, name=name)
        return changed

    def read_ends_of_model(
        self, roles: Mapping[str, Role], *, is_named: bool = False, has_ends: bool = True
    ) -> dict[str, Role]:
        """Read the roles of the first kernels, the last kernels and the positions.

        Args:
            roles: The role of each weight.
            is_named: Whether names gave these roles. Then they stay.
            has_ends: Whether to look for the first and last kernels.
        """
        architecture = self._architecture
        labels = set(map(id, architecture.labels))
        looked_up = [variable for variable in architecture.looked_up if id(variable) not in labels]
        ends = {
            "tokens": [*self._list_kernels(architecture.tokens), *self._find_parts(looked_up)],
            "positions": [
                *self._find_parts(architecture.added),
                *self._list_kernels(architecture.positions),
            ],
            "latents": self._find_parts(architecture.latents),
        }
        if has_ends and "patches" not in {role.name for role in roles.values()}:
            first = [layer for layer in architecture.inputs if layer not in architecture.tokens]
            ends["patches"] = self._list_kernels(first)
            # A table of tokens that also makes the logits keeps its role.
            last = self._list_kernels(architecture.outputs)
            ends["last"] = [part for part in last if roles[part.weight.path].name != "tokens"]
            ends["pre-logits"] = self._list_kernels(architecture.pre_logits)
        given: dict[str, Role] = {}
        for name, parts in ends.items():
            for part in parts:
                path = part.weight.path
                role = given.get(path, roles[path])
                may_replace = not is_named and name != "tokens"
                is_free = may_replace or role.name == part.by_name
                if is_free and role.name != "modulation" and path not in self._named:
                    given[path] = replace(role, name=name)
        kernels = {id(part.weight) for part in ends.get("patches", [])}
        for part in self._parts:
            if id(part.kernel) in kernels:
                given[part.weight.path] = replace(roles[part.weight.path], name="patch bias")
        return given

    def count_blocks_and_branches(self, roles: Mapping[str, Role]) -> Reading:
        """Count blocks and branches, and collect doubts, for roles that the graph shows."""
        counted = dict(roles)
        doubts = self._find_doubts()
        counted |= self._number_blocks(counted, doubts)
        counted |= self._count_branches(counted, doubts)
        notes: tuple[str, ...] = ()
        if not self._architecture.hidden:
            lines = [f"  {line}" for line in self._describe()]
            notes = ("Recognized in the graph of the model:", *lines)
        return Reading(counted, doubts, notes, is_by_graph=not self._architecture.hidden)

    def count_with_names(self, roles: Mapping[str, Role], ends: Collection[str]) -> Reading:
        """Count blocks and branches, for roles that names show.

        Args:
            roles: The role of each weight.
            ends: The paths of kernels that end branches by their names alone.
        """
        counted = dict(roles)
        if not self.has_branches:
            return Reading(counted, {Doubt.ENDS: "no residual branch in its graph"})
        doubts: dict[Doubt, str] = {}
        for branch in self._architecture.branches:
            for doubt, text in self._iterate_doubts_on_zeros(branch):
                doubts.setdefault(doubt, text)
        if ends and any(role.depth == 1 for role in counted.values()):
            doubts[Doubt.DEPTH] = "one kernel alone in a branch, which must have at least 2"
        counted |= self._number_blocks(counted, doubts)
        counted |= self._count_branches(
            counted, doubts, unseen_branches=len(set(ends) - self.find_ends())
        )
        return Reading(counted, doubts)

    def _number_blocks(
        self, roles: Mapping[str, Role], doubts: dict[Doubt, str]
    ) -> dict[str, Role]:
        """Number the blocks of weights, in their roles. If the numbers are not known, add a doubt.

        A block has a sum to which attention is added, and at most one other sum.
        """
        if self._architecture.hidden or not self._architecture.branches:
            obstacle = "no residual branch in its graph"
            if self._architecture.hidden:
                obstacle = "a graph that cannot be followed"
            doubts[Doubt.NUMBERS] = obstacle
            return {}
        number = 0
        attends = False
        changed: dict[str, Role] = {}
        for _, group in itertools.groupby(self._architecture.branches, lambda branch: branch.total):
            branches = list(group)
            operations = itertools.chain.from_iterable(one.operations for one in branches)
            parts = self._list_kernels(operations)
            follows_attention = attends
            attends = any(roles[part.weight.path].name == "attended" for part in parts)
            if attends:
                number += 1
            for part in parts:
                path = part.weight.path
                if path in changed and changed[path].block != number:
                    doubts[Doubt.NUMBERS] = f"{path!r} in several blocks"
                changed[path] = replace(roles[path], block=number)
            if not (attends or follows_attention):
                doubts[Doubt.NUMBERS] = (
                    "no attention right before the branch that ends with "
                    f"{self._name_ends(branches[0])}"
                )
        return changed

    def _count_branches(
        self, roles: Mapping[str, Role], doubts: dict[Doubt, str], *, unseen_branches: int = 0
    ) -> dict[str, Role]:
        """Count the branches on the paths of weights, in their roles.

        A weight outside of all branches gets the number of the streams that it leads to. If it
        leads to none, it gets the number that all branches have. If a weight that a recipe may
        scale by this number is on paths of several lengths, add a doubt.

        Args:
            roles: The role of each weight.
            doubts: The facts that are not known, each with the reason.
            unseen_branches: The number of branches that only names show, in addition to the
                branches of the graph.
        """
        architecture = self._architecture
        branches_by_path: dict[str, list[Branch]] = {}
        for branch in architecture.branches:
            for part in self._list_parts_inside(branch.operations):
                branches_by_path.setdefault(part.weight.path, []).append(branch)
        for branch in architecture.streams.firsts():
            before = find_producers(node_and_ancestors(branch.begin[0]))
            for part in self._list_parts_inside(before):
                if not roles[part.weight.path].in_branch:
                    branches_by_path.setdefault(part.weight.path, []).append(branch)
        lengths_by_branch = architecture.streams.lengths()
        counted = {}
        for path, role in roles.items():
            branches = branches_by_path.get(path, architecture.branches)
            lengths = {
                length + unseen_branches
                for branch in branches
                for length in lengths_by_branch[branch]
            }
            if (role.in_branch or role.name in ENDS) and len(lengths) > 1:
                words = " and ".join(map(str, sorted(lengths)))
                doubts.setdefault(Doubt.LENGTHS, f"{path!r} on paths through {words} branches")
            number = lengths.pop() if len(lengths) == 1 else 0
            counted[path] = replace(role, branches=number)
        return counted

    def _find_doubts(self) -> dict[Doubt, str]:
        """Find the facts about the branches that are not known, with reasons."""
        architecture = self._architecture
        doubts: dict[Doubt, str] = {}
        if architecture.hidden:
            doubts[Doubt.ENDS] = self.describe_hidden()
        elif not architecture.branches:
            doubts[Doubt.ENDS] = "no residual branch in its graph"
        elif len(architecture.outer_branches) + len(architecture.unclear) > 1:
            number = len(architecture.outer_branches) + len(architecture.unclear)
            doubts[Doubt.ENDS] = f"{number} branches that contain other branches"
        for branch in architecture.branches:
            for doubt, text in self._iterate_doubts_of_branch(branch):
                doubts.setdefault(doubt, text)
        suggestion = self._suggest_zeros()
        if suggestion:
            doubts.setdefault(Doubt.CLOSING, suggestion)
            doubts.setdefault(Doubt.END_AT_ZERO, suggestion)
        return doubts

    def _iterate_doubts_of_branch(self, branch: Branch) -> Iterator[tuple[Doubt, str]]:
        """Yield the facts about one branch that are not known, with reasons."""
        unknown = self._explain_unknown_end(branch)
        if unknown:
            yield Doubt.ENDS, unknown
        if (branch.depth or 0) < 2:
            yield (
                Doubt.DEPTH,
                "kernels side by side, or one alone, in the branch that ends with "
                f"{self._name_ends(branch)}, which must have at least 2 one after another",
            )
        yield from self._iterate_doubts_on_zeros(branch)

    def _iterate_doubts_on_zeros(self, branch: Branch) -> Iterator[tuple[Doubt, str]]:
        """Yield why a branch cannot start at 0."""
        closed = self._get_closing_weights(branch)
        if closed.problem:
            yield Doubt.CLOSING, closed.problem
        if not self._explain_unknown_end(branch):
            problem = self._runs.problem(branch, list(branch.added.sources))
            if problem:
                yield Doubt.END_AT_ZERO, self._explain_obstacle(branch, problem)

    def _explain_unknown_end(self, branch: Branch) -> str:
        """Say why the last kernel of a branch is not known; an empty text if it is known."""
        if not branch.last:
            return f"a branch that ends without a kernel at {branch.total.producer!r}"
        if branch.added.unclear:
            ends = self._name_ends(branch)
            return f"a branch that ends with the kernels of {ends} {branch.added.unclear}"
        for layer in branch.last:
            if not isinstance(layer, _LAYERS):
                return (
                    f"a branch that ends with {self._name_layer(layer)!r}, a {type(layer).__name__}"
                )
        return ""

    def _suggest_zeros(self) -> str:
        """Suggest zeros with which the first block that several kernels end starts as the identity.

        The text is empty if there is no such block, or if the rule is not known.
        """
        branches_by_sum: dict[Node, list[Branch]] = {}
        for branch in self._architecture.branches:
            branches_by_sum.setdefault(branch.total, []).append(branch)
        unclear = [
            branches
            for branches in branches_by_sum.values()
            if any(branch.added.unclear for branch in branches)
        ]
        if not unclear or self._architecture.hidden:
            return ""
        merged = merge_branches(unclear[0])
        # After a normalization of the sum, or a shortcut with operations, it is no identity.
        is_normalized = bool(merged.readers) and all(map(normalizes, merged.readers))
        if merged.shortcut or is_normalized:
            return ""
        # Zeros would belong in the scale of a normalization after these kernels.
        if any(map(normalizes, merged.after)):
            return ""
        sets = self._runs.find_closing_sets(merged)
        rules = [self._make_zero_rule(layers) for layers in sets]
        if not rules or not all(rules):
            return ""
        others = len(unclear) - 1
        verb = choose_verb(others, "block ends", "blocks end")
        more = f" ({others} more {verb} with several kernels)" if others else ""
        begin = "to start this block as the identity, write"
        if len(rules) == 1:
            return f"{begin} a rule of your own, {rules[0]}{more}"
        # Kernels that multiply each other: only one of them may be 0.
        choice = " or ".join(map(str, rules))
        return (
            f"{begin} exactly one of these rules of your own, {choice}: with zeros in all of them "
            f"some would never get a gradient{more}"
        )

    def _make_zero_rule(self, layers: Iterable[keras.Operation]) -> dict[str, str]:
        """Make the rule by which layers give 0; empty if a layer is of an unknown kind."""
        rule = {}
        for layer in layers:
            kernels = self._list_last_kernels(layer)
            if not isinstance(layer, _LAYERS) or not kernels:
                return {}
            (kernel,) = kernels
            rule[kernel.weight.path] = "zeros"
            bias_initializer = getattr(kernel.weight.layer, "bias_initializer", None)
            if isinstance(bias_initializer, keras.initializers.Zeros):
                continue
            for part in self._list_parts_inside([layer]):
                if part.kernel is kernel.weight:
                    rule[part.weight.path] = "zeros"
        return rule

    def _describe(self) -> list[str]:
        """Describe the architecture in words, as lines of text."""
        architecture = self._architecture
        lines = self._describe_branches()
        for words, layers in self._list_kinds().items():
            if layers:
                names = [self._name_layer(layer) for layer in dict.fromkeys(layers)]
                lines.append(f"{words}: {quote_names(names)}")
        added = [self._by_variable[id(variable)].weight.path for variable in architecture.added]
        if added:
            lines.append(f"weights that are added: {quote_names(list(dict.fromkeys(added)))}")
        return lines

    def _describe_branches(self) -> list[str]:
        architecture = self._architecture
        ends: list[str] = []
        for branch in architecture.branches:
            ends += map(self._name_layer, branch.last)
        lines = ["no residual branch"]
        if architecture.branches:
            last = (
                f"which end with {quote_names(ends)}"
                if ends
                else "none of which ends with a kernel"
            )
            lines = [f"residual branches: {len(architecture.branches)}, {last}"]
            begins = {branch.begin for branch in architecture.branches}
            if len(architecture.branches) == 2 * len(begins):
                lines[0] += ", two in each sum"
        lengths = architecture.streams.lengths()
        streams = {
            architecture.streams.numbers[branch]: lengths[branch]
            for branch in architecture.branches
        }
        if len(streams) > 1:
            counts = [" to ".join(map(str, sorted(length))) for length in streams.values()]
            lines.append(f"streams: {len(streams)}, of {' and '.join(counts)} branches")
        if architecture.normalizes_first is not None:
            place = "before each branch" if architecture.normalizes_first else "after each sum"
            lines.append(f"normalization: {place}")
        return lines

    def _list_kinds(self) -> dict[str, Sequence[keras.Operation]]:
        """List the layers and operations of each kind, by the words for it."""
        architecture = self._architecture
        modulations: list[keras.Operation] = []
        for branch in architecture.branches:
            modulations += self._get_closing_weights(branch).modulations
        routers = [layer for branch in architecture.branches for layer in branch.added.routers]
        return {
            "experts of one router": routers,
            "sums that may contain other branches": architecture.unclear,
            "attention": [
                layer
                for layer in architecture.attention
                if layer not in architecture.crossing_layers
            ],
            "cross-attention": architecture.crossing_layers,
            "gates": [gate.gate for gate in architecture.gates],
            "several kernels in one": list(architecture.fused_kernels),
            "modulations": modulations,
            "branches that contain others": [
                branch.addition for branch in architecture.outer_branches
            ],
            "embeddings of tokens": architecture.tokens,
            "embeddings of labels": [
                one for one in architecture.labels if isinstance(one, keras.Layer)
            ],
            "embeddings of positions": architecture.positions,
            "first kernels": [
                layer for layer in architecture.inputs if layer not in architecture.tokens
            ],
            "last kernels": architecture.outputs,
        }

    def _set_role(self, name: str, parts: Iterable[Part], roles: dict[str, Role]) -> None:
        """Set the role of weights, unless their names show another role."""
        for part in parts:
            path = part.weight.path
            if path not in self._named:
                roles[path] = replace(roles[path], name=name)

    def _list_end_kernels(self, branch: Branch) -> list[Part]:
        """Find the kernels that end a branch."""
        return [kernel for layer in branch.last for kernel in self._list_last_kernels(layer)]

    def _list_last_kernels(self, layer: keras.Operation) -> list[Part]:
        # One, or none if the layer has no kernel.
        kernels = self._list_kernels([layer])
        if layer in self._architecture.attention:
            named = [part for part in kernels if part.weight.layer.name == "attention_output"]
            kernels = named or kernels
        return kernels[-1:]

    def _list_kernels(self, layers: Iterable[keras.Operation]) -> list[Part]:
        """List the kernels of layers, without weights that only may be kernels by their shape."""
        kernels = []
        for part in self._list_parts_inside(layers):
            has_name_of_kernel = part.by_name in ("kernel", "embeddings")
            if has_name_of_kernel and is_kernel(part.weight.variable):
                kernels.append(part)
        return kernels

    def _list_parts_inside(self, layers: Iterable[keras.Operation]) -> list[Part]:
        """List the weights of layers and of those in them."""
        parts = []
        for layer in layers:
            if isinstance(layer, keras.Layer):
                inside = {id(variable) for variable in layer.weights}
                parts += [part for key, part in self._by_variable.items() if key in inside]
        return parts

    def _find_parts(self, variables: Iterable[keras.Variable]) -> list[Part]:
        """Find the weights that are these variables."""
        return [self._by_variable[id(one)] for one in variables if id(one) in self._by_variable]

    def _name_layer(self, layer: keras.Operation) -> str:
        """Name a layer by its path, or an operation that is no layer by its name."""
        if isinstance(layer, keras.Layer) and layer in self._paths:
            return self._paths[layer]
        return str(layer.name)

    def _name_ends(self, branch: Branch) -> str:
        return quote_names([self._name_layer(layer) for layer in branch.last])
