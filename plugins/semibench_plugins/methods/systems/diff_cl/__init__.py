"""Diff-CL: a diffusion and a convolutional network that teach each other."""
