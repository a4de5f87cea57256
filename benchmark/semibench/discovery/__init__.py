"""Finds plug-ins, in packages, in files and by name, and calls them under one guard."""
