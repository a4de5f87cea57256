"""Data sets of the brain: cards, readers, published splits, phantoms, recipe values."""
