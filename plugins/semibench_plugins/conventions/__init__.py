"""Built-in conventions: the harness's own, and published ones with their quirks."""
