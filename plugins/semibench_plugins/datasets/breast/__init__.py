"""Data sets of breast ultrasound: cards, readers, published splits, phantoms, recipe values."""
