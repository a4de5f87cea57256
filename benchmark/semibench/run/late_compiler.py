"""Leaves torch's compiler unimported until something is compiled.

Every optimiser of torch imports `torch._dynamo`, which takes a second of the processor, only to say that nothing is compiled here.
After `import_late`, a module stands in its place that says so itself and becomes the real one as soon as anything else of it is
asked for.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from threading import RLock
from types import ModuleType
from typing import Any, ClassVar

NAME = "torch._dynamo"
MARK = "__dynamo_disable"
"""Where torch keeps, at a function, what `disable` returned for it."""

_LOCK = RLock()


class LateCompiler(ModuleType):
    """`torch._dynamo` before it is imported. Optimisers call its `graph_break` and `disable`, which do nothing in plain code."""

    left_alone: ClassVar[list[Callable[..., Any]]] = []
    """Functions that `disable` returned as they are."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python itself and libraries look for these in every module
            raise AttributeError(f"module {NAME!r} has no attribute {name!r}")
        become_real(self)
        return getattr(self, name)


class _Submodules(MetaPathFinder, Loader):
    """Imports the real package before the first of its modules. That one is loaded with it, and must not be loaded twice."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(f"{NAME}."):
            return None
        become_real(sys.modules[NAME])
        return ModuleSpec(name, self) if name in sys.modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = sys.modules[spec.name]
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Puts back what the import system has just replaced."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def import_late() -> None:
    """From now on `torch._dynamo` is imported when something of it is used. Does nothing if it is imported already."""
    import torch

    with _LOCK:
        if NAME in sys.modules or (spec := importlib.util.find_spec(NAME)) is None:
            return
        module = importlib.util.module_from_spec(spec)
        module.__class__ = LateCompiler
        vars(module).update(graph_break=_graph_break, disable=_disable)
        sys.meta_path.insert(0, _Submodules())
        sys.modules[NAME] = module
        torch._dynamo = module


def become_real(module: ModuleType) -> None:
    """Imports what the module stands for, into it."""
    with _LOCK:
        if not isinstance(module, LateCompiler):
            return
        late: Any = module
        late.__class__ = ModuleType
        del late.graph_break, late.disable
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Submodules)]
        while LateCompiler.left_alone:
            vars(LateCompiler.left_alone.pop()).pop(MARK, None)  # torch asks again
        assert module.__spec__ is not None and module.__spec__.loader is not None
        try:
            module.__spec__.loader.exec_module(module)
        except BaseException:
            del sys.modules[NAME], sys.modules["torch"]._dynamo
            raise


def _graph_break(msg: str = "") -> None:
    """Returns: where nothing is compiled, there is no graph."""


def _disable(fn: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Any:
    """Returns a function of torch, or of the harness (a dispatch mode), as it is. For anything else the real `disable` decides: a
    user may compile it later."""
    if fn is not None and fn.__module__.startswith(("torch.", "semibench.")):
        LateCompiler.left_alone.append(fn)
        return fn
    become_real(sys.modules[NAME])
    return sys.modules[NAME].disable(fn, recursive, **options)
