"""Brain data sets: cards, readers, published splits, phantoms, recipe values."""
