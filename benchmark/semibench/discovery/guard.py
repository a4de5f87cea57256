"""The one guard around calls into plug-ins: what they raise becomes an error that names the distribution, the class and the hook.

with calling(protocol, "draw"):
    split = returned(protocol, "draw", protocol.draw(...), Split)
"""

from __future__ import annotations

import errno
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from semibench.contracts.errors import PluginError, SemibenchError, one_line
from semibench.discovery.registered import KINDS, Registered

T = TypeVar("T")

OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENOMEM}
"""Errors of the file system that no plug-in causes: a full disk, a read-only place, too many open files."""

CONTRACTS = "semibench.contracts."

_known: Callable[[], Iterable[Registered]] = tuple
"""Returns the registered plug-ins. The registry calls plug-ins through this module, so it can't be imported here."""


def name_by(known: Callable[[], Iterable[Registered]]) -> None:
    """From now on, errors name a class by the registered plug-in that it belongs to.

    Args:
        known: returns all registered plug-ins.
    """
    global _known
    _known = known


@contextmanager
def calling(part: object, hook: str) -> Iterator[None]:
    """Within the block, a plug-in is called: turn what it raises into a PluginError.

    Errors that the harness raises on purpose pass, and so do those of the machine: no memory, a full disk. A plug-in that
    calls `sys.exit` doesn't end the command in silence.

    Args:
        part: an instance of the plug-in's class, the class, or the registered card of a function.
        hook: the method of the contract that is called.

    Raises:
        PluginError: names distribution, class and hook. Its cause is the plug-in's own error.
    """
    try:
        yield
    except (SemibenchError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        if _is_of_the_machine(error):
            raise
        raise PluginError(_sentence(part, hook, error)) from error


def made(cls: type[Any]) -> Any:
    """Return an instance of a plug-in's class that takes no arguments."""
    with calling(cls, "__init__"):
        return cls()


def raised_by_plugin(error: BaseException) -> bool:
    """Whether the guard made an error from one that a plug-in raised."""
    return isinstance(error, PluginError) and error.__cause__ is not None


def returned(part: object, hook: str, value: Any, expected: type[T], words: str = "") -> T:
    """Return what a hook returned, if it has the right type.

    Args:
        part: an instance of the plug-in's class, or the class.
        hook: the method of the contract that returned it.
        value: what it returned.
        expected: the type that the contract asks for.
        words: the type in words, for the message.

    Raises:
        PluginError: for another type.
    """
    if not isinstance(value, expected):
        raise wrong_return(part, hook, words or f"{_article(expected)} {expected.__name__}", value)
    return value


def returned_mapping(part: object, hook: str, value: Any, expected: str) -> Mapping[str, Any]:
    """Return what a hook returned, if it is a mapping from names. expected: in words, for the message.

    Raises:
        PluginError: for anything else.
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise wrong_return(part, hook, expected, value)
    return value


def wrong_return(part: object, hook: str, expected: str, found: object) -> PluginError:
    """Return the error for a hook that returned something else than its contract says."""
    return PluginError(f"{who(part)}: {hook}() must return {expected}, found {_shown(found)}")


def who(part: object) -> str:
    """Name a plug-in: its full name, distribution and class or function; the class alone if no card names it."""
    if isinstance(part, Registered):
        return f"{KINDS[part.kind].singular} {part.full_name!r} ({part.distribution} {part.version}, {part.card.load})"
    cls = part if isinstance(part, type) else type(part)
    for ancestor in cls.__mro__:
        load = f"{ancestor.__module__}:{ancestor.__name__}"
        for item in _known():
            if getattr(item.card, "load", None) == load:
                singular = KINDS[item.kind].singular
                return f"{singular} {item.full_name!r} ({item.distribution} {item.version}, class {cls.__name__})"
    return f"{cls.__module__}.{cls.__qualname__}"


def _sentence(part: object, hook: str, error: Exception | SystemExit) -> str:
    words = one_line(error)
    hook = _innermost(part, error.__traceback__) or hook
    text = f"{who(part)}: {hook}() raised {type(error).__name__}: {words[:500]}"
    if isinstance(error, AttributeError) and (
        "before Module.__init__()" in words or "before super().__init__()" in words
    ):
        return f"{text}; call super().__init__() with the same arguments first"
    called = re.search(r"(\w+)\(\) (?:takes|got|missing)", words) if isinstance(error, TypeError) else None
    signature = None if called is None else _contract_signature(part, called[1])
    if signature is not None:
        return f"{text}; the contract calls it as {signature}"
    function = isinstance(part, Registered)
    return f"{text} (--debug shows where)" if function else f"{text} (--debug and the run's log.txt show where)"


def _innermost(part: object, trace: TracebackType | None) -> str | None:
    """Return the hook in which the error was raised: the last function of the plug-in that the contract names."""
    found = None
    cls = part if isinstance(part, type) else type(part)
    while trace is not None:
        code = trace.tb_frame.f_code
        name = code.co_name
        if _declared(cls, name) is not None and getattr(getattr(cls, name, None), "__code__", None) is code:
            found = name
        trace = trace.tb_next
    return found


def _declared(cls: type, name: str) -> Any:
    """Return the contract's own method of this name; None if the contract has none."""
    for ancestor in cls.__mro__:
        if ancestor.__module__.startswith(CONTRACTS) and name in vars(ancestor):
            return vars(ancestor)[name]
    return None


def _contract_signature(part: object, name: str) -> str | None:
    declared = _declared(part if isinstance(part, type) else type(part), name)
    function = getattr(declared, "__func__", declared)
    if not callable(function):
        return None
    names = [
        f"*{p.name}" if p.kind is p.VAR_POSITIONAL else f"**{p.name}" if p.kind is p.VAR_KEYWORD else p.name
        for p in inspect.signature(function).parameters.values()
    ]
    return f"{name}({', '.join(names)})"


def _is_of_the_machine(error: BaseException) -> bool:
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return True
    return isinstance(error, OSError) and error.errno in OF_THE_MACHINE


def _shown(found: object) -> str:
    shape = getattr(found, "shape", None)
    if shape is not None:
        return f"{_article(type(found))} {type(found).__name__} of shape {tuple(shape)}"
    return f"{type(found).__name__}: {repr(found)[:120]}"


def _article(cls: type) -> str:
    return "an" if cls.__name__[0] in "AEIOU" else "a"
