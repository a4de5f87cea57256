"""Reads run folders through an index beside them."""
