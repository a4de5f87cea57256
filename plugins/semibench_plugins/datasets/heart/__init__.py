"""Data sets of the heart: cards, readers, published splits, phantoms, recipe values."""
