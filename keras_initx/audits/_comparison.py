"""Expectations of weights, and what comes of testing one."""

import abc
import functools
from dataclasses import dataclass
from typing import Any

from keras_initx._typing import DType
from keras_initx.audits._contract_lines import WeightContract
from keras_initx.audits._outcome import Outcome, least
from keras_initx.audits._profile import Profile
from keras_initx.audits._scale_error import Scale, scale_of
from keras_initx.audits._subjects import Subject
from keras_initx.structure._hooks import LayerInitializer


class Expectation(abc.ABC):
    """What a weight should be.

    Attributes:
        text: It in words, or `None` if nothing is known of it.
        path: The path of the weight that says so, if it is another than the one tested.
        dtype: The dtype there.
        initializer: The initializer that the weight should come from, if that is known.
        is_measured: Whether it was measured from draws, and is no more exact than these.
        has_parts: Whether parts have scales of their own, so that the whole has none to explain.
        has_guessed_fans: Whether its scale follows from fans that are guessed by the shape.
    """

    text: str | None = None
    path: str | None = None
    dtype: DType | None = None
    initializer: LayerInitializer | None = None
    is_measured: bool = False
    has_parts: bool = False
    has_guessed_fans: bool = False

    @abc.abstractmethod
    def test(self, weight: Any) -> "Comparison":
        """Return what is found of a weight, and the outcomes of tests whether it is as expected."""


@dataclass(frozen=True)
class Comparison:
    """A weight that was tested.

    Attributes:
        weight: The weight.
        expectation: What it should be.
        found: Its values.
        expected: What they should be, or `None` if nothing is known of it.
        outcomes: What the tests say.
        reason: Why it was not compared.
        declared: The initializer of its layer, if a rule has another and the values are those of
            the layer.
        is_unchanged: Whether it has the bits that are expected, or `None` if these are not known.
        rows_unchanged: The number of slices along the first axis that have.
        sample: A digest of some of its values, if they are random and an initializer was expected.
    """

    weight: Subject | WeightContract
    expectation: Expectation
    found: Profile
    expected: Profile | None = None
    outcomes: tuple[Outcome, ...] = ()
    reason: str = ""
    declared: str = ""
    is_unchanged: bool | None = None
    rows_unchanged: int | None = None
    sample: bytes = b""

    @property
    def path(self) -> str:
        """The path of the weight."""
        return self.weight.path

    @property
    def path_of_expected(self) -> str:
        """The path of the weight that is expected."""
        return self.expectation.path or self.path

    @property
    def dtypes(self) -> list[DType]:
        """Its dtype, and the one expected if that is known."""
        return [self.weight.dtype, self.expectation.dtype or self.weight.dtype]

    @property
    def text(self) -> str | None:
        """What is expected, in words, or `None` if nothing is known of it."""
        if self.expectation.text is None and self.is_proven:
            return "fixed"
        return self.expectation.text

    @property
    def is_proven(self) -> bool:
        """Whether the values are those expected, not only of the same law."""
        return any(outcome.proof for outcome in self.outcomes)

    @property
    def are_random(self) -> bool:
        """Whether values are drawn that should be."""
        return self.expected is not None and self.expected.kind == self.found.kind == "random"

    @property
    def least(self) -> float:
        """The smallest probability of a deviation that matters."""
        return least(self.outcomes)

    @functools.cached_property
    def scale(self) -> Scale | None:
        """The scale of a random weight, relative to the one expected."""
        if self.expected is None or not self.are_random or self.reason:
            return None
        if self.expectation.has_parts:
            return None
        if not self.expected.std or not self.found.std:
            return None
        return scale_of(self.expected, self.found)
