"""Data sets of the pelvis: cards, readers, published splits, phantoms, recipe values."""
