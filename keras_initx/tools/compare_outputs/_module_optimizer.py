"""Make an optimizer of torch in its first state for copies of parameters, and read its settings.

Settings are in the words of Keras: `{"lr": 1e-3, "betas": (0.9, 0.999)}` becomes
`{"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999}`.
"""

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from keras_initx.tools.compare_outputs._reading import Settings

# The words of Keras for the settings that both frameworks have.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "betas": ("beta_1", "beta_2"),
    "eps": ("epsilon",),
    "momentum": ("momentum",),
    "nesterov": ("nesterov",),
    "weight_decay": ("weight_decay",),
    "amsgrad": ("amsgrad",),
    "centered": ("centered",),
}
# Settings that one optimizer calls differently.
_OWN_WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "RMSprop": {"alpha": ("rho",)},
    "Adadelta": {"rho": ("rho",)},
}


class ModuleOptimizer:
    """An optimizer at its start that steps copies of parameters.

    Args:
        parameters: The parameters of the module.
        optimizer: An optimizer of them, or a function that makes one of a list of them.

    Attributes:
        groups: The settings of its groups, in the words of Keras.
        settings: Settings that are the same in all groups, by their names in Keras.
        unread: Settings that differ between groups, in words.

    Raises:
        TypeError: If `optimizer` is neither.
        ValueError: If it has other parameters, or its step needs a function that it calls.
    """

    def __init__(self, parameters: Sequence[Any], optimizer: Any) -> None:
        self._copies = {id(parameter): _copy_parameter(parameter) for parameter in parameters}
        self._parameters = parameters
        made = optimizer
        if callable(optimizer) and not hasattr(optimizer, "param_groups"):
            made = optimizer(list(self._copies.values()))
        if not hasattr(made, "param_groups") or not hasattr(made, "step"):
            returned = "" if made is optimizer else f", which returns {type(made).__name__}"
            raise TypeError(
                "`optimizer` must be an optimizer of torch, or a function that makes one of a list "
                f"of parameters. Received: optimizer of type {type(optimizer).__name__}{returned}"
            )
        _check_step(made)
        copies = {id(copy) for copy in self._copies.values()}
        owned = [parameter for group in made.param_groups for parameter in group["params"]]
        if not any(id(parameter) in copies for parameter in owned):
            made = self._remake_at_start(made)
        self._optimizer = made
        self._group_indices: dict[int, int] = {}
        self.groups: list[Settings] = []
        for index, group in enumerate(made.param_groups):
            self.groups.append(_translate_settings(type(made).__name__, group))
            for copy in group["params"]:
                self._group_indices[id(copy)] = index
        self.settings: dict[str, Any] = {"optimizer": type(made).__name__}
        self.unread: list[str] = []
        for name in dict.fromkeys(name for group in self.groups for name in group):
            values = list(dict.fromkeys(group.get(name) for group in self.groups))
            if len(values) == 1:
                self.settings[f"optimizer: {name}"] = values[0]
            else:
                values_in_words = ", ".join(map(str, values))
                self.unread.append(f"optimizer: {name}: {values_in_words} in its groups")

    def find_group(self, parameter: Any) -> int | None:
        """Find the index of the group that has a parameter, `None` if none has it."""
        copy = self._copies.get(id(parameter))
        return None if copy is None else self._group_indices.get(id(copy))

    def take_step(self) -> Mapping[int, Any]:
        """Step the copies with the gradients of the parameters; return them by their ids.

        Call it once: a second step would not start without a state.
        """
        for parameter in self._parameters:
            copy = self._copies[id(parameter)]
            copy.grad = None if parameter.grad is None else parameter.grad.clone()
        self._optimizer.step()
        return self._copies

    def _remake_at_start(self, optimizer: Any) -> Any:
        """Make an optimizer like one of the parameters, of their copies and without a state."""
        groups = []
        for group in optimizer.param_groups:
            own = [
                self._copies[id(parameter)]
                for parameter in group["params"]
                if id(parameter) in self._copies
            ]
            if own:
                groups.append({**group, "params": own})
        name = type(optimizer).__name__
        if not groups:
            raise ValueError(
                "`optimizer` must have parameters of the module. "
                f"Received: optimizer={name} of other parameters"
            )
        arguments = list(inspect.signature(type(optimizer)).parameters)[1:]
        defaults = optimizer.defaults
        unknown = [argument for argument in arguments if argument not in defaults]
        if unknown:
            raise ValueError(
                "`optimizer` must be a function of the parameters for an optimizer whose settings "
                f"cannot be read, such as `lambda parameters: {name}(parameters, ...)`. "
                f"Received: optimizer={name}, whose {', '.join(unknown)} cannot be read"
            )
        made = type(optimizer)(groups, **{name: defaults[name] for name in arguments})
        for hooks in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
            getattr(made, hooks, {}).update(getattr(optimizer, hooks, {}))
        return made


def _check_step(optimizer: Any) -> None:
    """Raise `ValueError` if the step of an optimizer calls the loss by itself."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ValueError(
            "`optimizer` must take a step from gradients alone. Received: "
            f"optimizer={type(optimizer).__name__}, whose step calls the loss several times"
        )


def _copy_parameter(parameter: Any) -> Any:
    """Copy a parameter, with the attributes that a user has set on it."""
    torch = sys.modules["torch"]
    copy = torch.nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
    vars(copy).update(vars(parameter))
    return copy


def _translate_settings(name: str, group: Mapping[str, Any]) -> Settings:
    """Translate the settings of a group to Keras' words, if Keras has them."""
    settings: dict[str, Any] = {}
    for torch_name, keras_names in {**_WORDS, **_OWN_WORDS.get(name, {})}.items():
        if torch_name not in group:
            continue
        value = group[torch_name]
        values = value if isinstance(value, tuple | list) else (value,)
        for number, setting in zip(values, keras_names, strict=False):
            # A rate may be a tensor.
            settings[setting] = number if isinstance(number, bool) else float(number)
    return settings
