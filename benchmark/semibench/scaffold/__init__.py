"""New plug-in packages from templates: what `bench new` writes. Light: no torch."""

from semibench.scaffold.writing import SCAFFOLDS, Scaffold, check_name, write

__all__ = ["SCAFFOLDS", "Scaffold", "check_name", "write"]
