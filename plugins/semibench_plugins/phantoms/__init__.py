"""Procedural stand-ins for data sets: how tissue, machines and scanners are drawn (docs/phantoms.md).

Each family of data sets has its scenes and specs beside its readers and takes its tools from here.
"""
