"""Methods that translate images of the labeled source domain to the style of the unlabeled target domain, or back, and learn to
segment what they translated."""
