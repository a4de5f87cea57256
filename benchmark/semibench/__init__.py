"""Semibench: the benchmark harness for semi-supervised medical image segmentation.

The public face: the contracts that a plug-in implements, their cards and errors. Parts to build plug-ins with are in
`semibench.blocks`, the checks a plug-in must pass in `semibench.conformance`. The exported names are listed in
`__init__.pyi` and imported on first use, so `import semibench` is instant and cards import nothing heavy.
"""

from semibench.contracts.lazy_names import lazy_names
from semibench.installed_packages import hide_damaged_packages

hide_damaged_packages()

__version__ = "0.1.0"

_RENAMED: dict[str, str] = {}
"""Old public name to new one; each old name has an entry in `semibench.contracts.deprecation.DEPRECATIONS`."""

__getattr__, __dir__, _names = lazy_names(__name__, __file__, _RENAMED)
__all__ = ["__version__", *_names]
