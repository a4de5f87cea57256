"""Baselines that every semi-supervised method must beat."""
