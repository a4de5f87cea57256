"""Building blocks for data sets: file readers, the working grid, official layouts, published splits and base classes."""
