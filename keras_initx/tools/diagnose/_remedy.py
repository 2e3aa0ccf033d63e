"""Remedies: how to fix a problem, as text and as rules that can be applied."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from keras_initx._typing import InitializerLike


@dataclass(frozen=True)
class Remedy:
    """The way to fix a problem. You can print it.

    If you have to change more than weights, such as the data or the layers of a model, you get only
    a text.

    Attributes:
        text: The instruction, in words and code. It begins with a verb, or with the case that it is
            for.
        rules: Rules for `keras_initx.initialize`: initializers by the paths of the weights to
            redraw. They never redraw a frozen weight. `initialize(model, report)` applies the rules
            of the first problem that new weights fix.
        lsuv: Whether to call `keras_initx.lsuv` with the inputs.
        others: Other remedies, each of which fixes the problem, too. They are in the text.
        is_safe: Whether `initialize(model, report)` applies it for a note, too, because it loses
            nothing that may be intended.

    See Also:
        `DiagnosisReport.remedies`.
    """

    text: str
    rules: Mapping[str, InitializerLike] = field(default_factory=dict)
    lsuv: bool = False
    others: tuple["Remedy", ...] = ()
    is_safe: bool = False

    @property
    def weights(self) -> Mapping[str, InitializerLike]:
        """The rules of this remedy, or the first of `others`, that has any, otherwise none."""
        for remedy in (self, *self.others):
            if remedy.rules:
                return remedy.rules
        return {}

    def otherwise(self, other: "Remedy", between: str = ", or ") -> "Remedy":
        """Return this remedy with `other` as an alternative, which the text mentions."""
        return replace(
            self,
            text=f"{self.text}{between}{other.text}",
            others=(*self.others, other, *other.others),
        )

    def after(self, text: str) -> "Remedy":
        """Return the text of this remedy after a first step, without its rules."""
        return Remedy(f"{text}, then {self.text}")

    def __str__(self) -> str:
        return self.text


LSUV = Remedy("use keras_initx.lsuv(model, x)", lsuv=True)
# For activations whose signals no initializer keeps at one size in depth. Normalization before each
# of them keeps the size, too, but forty such layers of GELU do not train. After LSUV they do not
# train with SGD.
SCALED = Remedy(f"{LSUV}, and train with Adam", lsuv=True)
