"""Methods that adapt from a labeled source domain to an unlabeled target domain."""
