"""CSC-PA (Ding et al., CVPR 2025): the method in `method`, its parts beside it."""
