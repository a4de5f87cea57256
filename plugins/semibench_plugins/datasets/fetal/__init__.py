"""Data sets of fetal ultrasound: cards, readers, published splits, phantoms, recipe values."""
