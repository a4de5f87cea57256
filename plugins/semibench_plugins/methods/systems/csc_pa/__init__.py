"""CSC-PA (Ding et al., CVPR 2025): the method is in `method`, its parts are in the other modules."""
