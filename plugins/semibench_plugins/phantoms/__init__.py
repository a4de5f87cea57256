"""Tools for phantoms, the procedural stand-ins for data sets: simulated tissue, machines and scanners (docs/phantoms.md).

Each family of data sets keeps its scenes and specs beside its readers and uses these tools.
"""
