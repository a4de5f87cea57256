"""Write new plug-in packages from templates, for `bench new`. Does not import torch."""

from semibench.scaffold.writing import SCAFFOLDS, Scaffold, check_name, write

__all__ = ["SCAFFOLDS", "Scaffold", "check_name", "write"]
