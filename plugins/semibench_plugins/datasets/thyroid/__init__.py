"""Data sets of thyroid ultrasound: cards, readers, published splits, phantoms, recipe values."""
