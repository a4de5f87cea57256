"""Public parts for plug-in authors. The names are listed in `__init__.pyi` and imported on first use, so importing this
package is instant."""

from semibench.contracts.lazy_names import lazy_names

_RENAMED: dict[str, str] = {}
"""Old public name to new one; each old name has an entry in `semibench.contracts.deprecation.DEPRECATIONS`."""

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__, _RENAMED)
