"""What a configuration key allows: a test, ``value in range``, and the words for the message."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class Range:
    """The values that a key takes, whatever their kind. ``value in range`` never raises.

    Attributes:
        words: what is allowed, to stand behind "it takes" and "each".
    """

    words = ""

    def __contains__(self, value: Any) -> bool:
        raise NotImplementedError

    @property
    def rule(self) -> str:
        """What is allowed, as the end of a message."""
        return f"it takes {self.words}"


class _Switch(Range):
    words = "True or False"

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, bool)


SWITCH = _Switch()


@dataclass(frozen=True)
class Choice(Range):
    """One of a few texts."""

    names: tuple[str, ...]

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.names

    @property
    def words(self) -> str:
        return f"one of {self._listed}"

    @property
    def rule(self) -> str:
        return f"allowed are {self._listed}"

    @property
    def _listed(self) -> str:
        return ", ".join(name or "''" for name in self.names)


@dataclass(frozen=True)
class Whole(Range):
    """Whole numbers from ``least`` to ``most``; ``special`` is allowed too and means what ``meaning`` says."""

    least: int
    most: int
    special: int | None = None
    meaning: str = ""

    def __contains__(self, value: Any) -> bool:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and (value == self.special or self.least <= value <= self.most)

    @property
    def words(self) -> str:
        return _or(self.special, self.meaning, f"a whole number from {self.least} to {self.most}")


@dataclass(frozen=True)
class Number(Range):
    """Finite numbers from ``least`` to ``most``, without these two where they are open; ``special`` as in Whole."""

    least: float
    most: float = math.inf
    open_least: bool = False
    open_most: bool = False
    special: float | None = None
    meaning: str = ""

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        if value == self.special:
            return True
        if value in (self.least, self.most):
            return not (self.open_least if value == self.least else self.open_most or value == math.inf)
        return self.least < value < self.most

    @property
    def words(self) -> str:
        ends = [f"{'above' if self.open_least else 'of at least'} {self.least:g}"]
        if self.most < math.inf:
            ends.append(f"{'below' if self.open_most else 'at most'} {self.most:g}")
        return _or(self.special, self.meaning, f"a number {' and '.join(ends)}")


@dataclass(frozen=True)
class Text(Range):
    """A line of text of ``least`` to ``most`` characters, with ``{}`` exactly once if it is a template."""

    least: int = 0
    most: int = 4096
    template: bool = False

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, str) or not self.least <= len(value) <= self.most:
            return False
        if self.template and (value.count("{}") != 1 or value.count("{") + value.count("}") != 2):
            return False
        # line ends, control characters, and halves of characters, which no file and no log can hold
        return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value)

    @property
    def words(self) -> str:
        with_slot = " with {} exactly once, for the class name" if self.template else ""
        return f"a line of text{with_slot} ({self.least} to {self.most} characters)"


ORDERS = {
    "": "values",
    "equal": "equal values",
    "rising": "values that do not fall",
    "distinct": "different values",
}


@dataclass(frozen=True)
class Items(Range):
    """``least`` to ``most`` values of the range ``each``, in an order of :data:`ORDERS`; ``empty``: what () means."""

    each: Range
    least: int
    most: int
    order: str = ""
    empty: str = ""

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, (tuple, list)):
            return False
        if not value and self.empty:
            return True
        if not self.least <= len(value) <= self.most or not all(item in self.each for item in value):
            return False
        return _in_order(value, self.order)

    @property
    def words(self) -> str:
        count = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        return _or(() if self.empty else None, self.empty, f"{count} {ORDERS[self.order]}, each {self.each.words}")


def _in_order(values: Sequence[Any], order: str) -> bool:
    if order == "rising":
        return list(values) == sorted(values)
    kinds = len(set(values))
    return kinds == len(values) if order == "distinct" else order != "equal" or kinds <= 1


def _or(special: Any, meaning: str, words: str) -> str:
    return words if special is None else f"{special!r} ({meaning}) or {words}"


def as_range(allowed: Range | Sequence[str], default: Any = None) -> Range | None:
    """The range that a :class:`~dho_prompt.config.Setting` means: a tuple is a choice, a switch needs none.

    Returns:
        None if any value of the default's type will do.
    """
    if isinstance(allowed, Range):
        return allowed
    if allowed:
        return Choice(tuple(allowed))
    return SWITCH if isinstance(default, bool) else None


# Kinds of keys that several parts have

MOST = 10**7  # images, steps: more than any data set or run has
EPOCHS = 10**5
TEXT = Text()
PATH = TEXT
SHARE = Number(0, 1)
TOKENS = Whole(1, 512)  # what a tower has room for is checked when it is known, and so are its blocks
BLOCKS = Whole(1, 256)


def templates(empty: str) -> Items:
    """Prompt templates; ``empty`` says what () takes in their place."""
    return Items(Text(1, 1000, template=True), 1, 1000, empty=empty)
