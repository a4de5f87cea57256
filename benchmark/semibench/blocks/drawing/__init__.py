"""Building blocks for phantoms: random streams, smooth fields, outlines and shapes."""
