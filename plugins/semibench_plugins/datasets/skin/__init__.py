"""Data sets of dermoscopy: cards, readers, published splits, phantoms, recipe values."""
