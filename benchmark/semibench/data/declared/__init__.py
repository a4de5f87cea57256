"""Data sets by declaration: a folder of images and labels, and perhaps a semibench.yaml beside them, without a Python package.

`naming` turns a path or a registered name into what the registry returns for a built-in data set; `look` finds out what a folder
holds; `layouts` finds its cases; `arrays` reads them with the readers of `semibench.blocks`; `dataset` is the data set.
"""
