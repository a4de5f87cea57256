"""Procedural stand-ins for the data sets, so that everything runs on a machine without data (docs/phantoms.md).

Nothing heavy is imported here; `datasets.phantom` makes them.
"""
