"""Names to classes: how configs refer to trainers, data sets and evaluators."""

from __future__ import annotations

from typing import Any

from dho_prompt.engine.utils import unknown_name


class Registry:
    """A table from names to classes, filled by decorators.

    Args:
        name: what the entries are (``"TRAINER"``); used in error messages.

    Example:
        >>> TRAINERS = Registry("TRAINER")
        >>> @TRAINERS.register()
        ... class MyTrainer: ...
        >>> TRAINERS.get("MyTrainer") is MyTrainer
        True
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._entries: dict[str, Any] = {}

    def register(self, obj: Any = None) -> Any:
        """Register a class under its ``__name__``; without ``obj``, return a decorator that does.

        Raises:
            KeyError: the name is taken.
        """
        if obj is None:
            return self.register
        self._do_register(obj.__name__, obj)
        return obj

    def _do_register(self, name: str, obj: Any, force: bool = False) -> None:
        if name in self._entries and not force:
            taken = self._entries[name]
            raise KeyError(
                f"{self._name} '{name}' is already registered by {taken.__module__}; choose another class name"
            )
        self._entries[name] = obj

    def get(self, name: str) -> Any:
        """The class registered under ``name``.

        Raises:
            KeyError: nothing is; the message names the nearest and all allowed names.
        """
        if name not in self._entries:
            raise KeyError(unknown_name(self._name, name, self._entries))
        return self._entries[name]

    def build(self, name: str, *args: Any, verbose: bool = False, **kwargs: Any) -> Any:
        """Call the class registered under ``name``.

        Args:
            name: as in the config.
            verbose: print what is being loaded.

        Raises:
            ValueError: nothing goes by that name.
        """
        if name not in self._entries:
            raise ValueError(unknown_name(self._name, name, self._entries))
        if verbose:
            print(f"Loading {self._name.lower()}: {name}")
        return self._entries[name](*args, **kwargs)

    def registered_names(self) -> list[str]:
        return list(self._entries)
