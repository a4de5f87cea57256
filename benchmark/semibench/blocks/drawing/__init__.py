"""Parts of a phantom: random streams, smooth fields, outlines and shapes."""
