"""Find the classes of a package, and those of plug-ins, by the names that they declare.

``data`` and ``methods`` have one each. A module that cannot be imported, or a name that two classes declare, ends
nothing: it is told where names are listed, and is an error where that name is asked for."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar, get_args

T = TypeVar("T")


class UnusableError(LookupError):
    """A name is there, but what it stands for cannot be used; the message says which file is at fault and why."""


@dataclass(frozen=True)
class Found(Generic[T]):
    """Everything under its declared name, and what cannot be used: name -> reason."""

    usable: dict[str, type[T]] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)


class Registry(Generic[T]):
    """The classes that derive from ``base``, declare a ``name`` of their own and lie in a module or package of
    ``package``, or are entry points of the group ``group``. kind: what one of them is called in messages."""

    def __init__(self, package: str, base: type[T], group: str, kind: str) -> None:
        self._package, self._base, self._group, self.kind = package, base, group, kind

    def names(self) -> list[str]:
        """List every name that can be used, sorted."""
        return sorted(self.found.usable)

    def get(self, name: str) -> type[T]:
        """Find the class called ``name``. Raises UnusableError where it cannot be used, KeyError naming those that
        exist where there is none."""
        if (reason := self.refusal(name)) is not None:
            raise UnusableError(reason)
        try:
            return self.found.usable[name]
        except KeyError:
            raise KeyError(f"no {self.kind} called {name!r}; there are: {', '.join(self.names())}") from None

    def refusal(self, name: str) -> str | None:
        """Say why ``name`` cannot be used although it is there; None where nothing is wrong with it."""
        reason = self.found.unusable.get(name)
        return None if reason is None else f"{self.kind} {name!r} cannot be used: {reason}"

    def refusals(self) -> list[str]:
        """List one sentence for each name that cannot be used, sorted by name."""
        return [sentence for name in sorted(self.found.unusable) if (sentence := self.refusal(name)) is not None]

    @cached_property
    def found(self) -> Found[T]:
        """Find what there is, once."""
        unusable, classes = dict[str, str](), dict[str, list[type[T]]]()
        for found in [*self._of_package(unusable), *self._of_plug_ins(unusable)]:
            of_name = classes.setdefault(str(vars(found)["name"]), [])
            if found not in of_name:
                of_name.append(found)
        for name, several in classes.items():
            if len(several) > 1:
                places = " and ".join(_place(each) for each in several)
                unusable[name] = f"{len(several)} of this name are defined, in {places}; rename all but one"
        return Found({name: several[0] for name, several in classes.items() if name not in unusable}, unusable)

    def _of_package(self, unusable: dict[str, str]) -> Iterator[type[T]]:
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            name = f"{self._package}.{module.name}"
            try:
                imported = [importlib.import_module(name)]
                for name in _names_below(imported[0]):
                    imported.append(importlib.import_module(name))
            except (Exception, SystemExit) as error:
                unusable[module.name] = f"{_file(name)} cannot be imported ({_said(error)})"
                continue
            for each in imported:
                yield from self._declared(each)

    def _of_plug_ins(self, unusable: dict[str, str]) -> Iterator[type[T]]:
        for entry in entry_points(group=self._group):
            try:
                found = entry.load()
            except (Exception, SystemExit) as error:
                unusable[entry.name] = f"{_described(entry)} cannot be imported ({_said(error)})"
                continue
            if self._is_declared(found):
                yield found
            else:
                wanted = f"a class derived from {self._base.__module__}.{self._base.__name__} with a name of its own"
                unusable[entry.name] = f"{_described(entry)} is not {wanted}"

    def _declared(self, module: ModuleType) -> Iterator[type[T]]:
        for value in vars(module).values():
            if self._is_declared(value) and value.__module__ == module.__name__:
                yield value

    def _is_declared(self, value: object) -> bool:
        """Return true for a class with a name of its own; a base that several share has none."""
        return isinstance(value, type) and issubclass(value, self._base) and isinstance(vars(value).get("name"), str)


def type_argument(derived: type, bound: type[T]) -> type[T] | None:
    """Find the class below ``bound`` that a class statement gives to a generic base: X of ``class A(Base[X])``.

    None where it gives no such class, as where the base is not generic or its argument is a type variable."""
    for base in vars(derived).get("__orig_bases__", ()):
        for given in get_args(base):
            if isinstance(given, type) and issubclass(given, bound):
                return given
    return None


def _names_below(module: ModuleType) -> Iterator[str]:
    """List the names of the modules of a package, at any depth; none of a plain module."""
    for found in pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}."):
        yield found.name
        if found.ispkg:
            yield from _names_below(importlib.import_module(found.name))


def _file(name: str) -> str:
    """Find the file of a module that could not be imported, where its package tells."""
    package = sys.modules[name.rpartition(".")[0]]
    spec = PathFinder.find_spec(name, package.__path__)
    return spec.origin if spec is not None and spec.origin is not None else name


def _place(found: type) -> str:
    try:
        return str(Path(inspect.getfile(found)))
    except (OSError, TypeError):  # defined where there is no file
        return f"{found.__module__}.{found.__qualname__}"


def _described(entry: EntryPoint) -> str:
    """Describe an entry point in words, with the package that declares it."""
    of = f" of package {entry.dist.name}" if entry.dist is not None else ""
    return f"entry point {entry.name} = {entry.value}{of}"


def _said(error: BaseException) -> str:
    """Describe an error in one line, with the place in the file where Python could not read it."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{type(error).__name__}: {error.msg}, line {error.lineno}"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
