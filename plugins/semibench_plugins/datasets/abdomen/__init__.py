"""Data sets of the abdomen: cards, readers, published splits, phantoms, recipe values."""
