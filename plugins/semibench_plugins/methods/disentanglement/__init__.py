"""Methods that make what a network predicts for unlabeled samples look like what it predicts for labeled ones, mostly to adapt
from a labeled source domain to an unlabeled target domain."""
