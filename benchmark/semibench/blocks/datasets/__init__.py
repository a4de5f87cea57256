"""Parts of a data set: reading files, the working grid, official layouts, published splits, base classes."""
