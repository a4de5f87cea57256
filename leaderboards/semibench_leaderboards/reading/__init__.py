"""Reads run folders through an index that is stored next to them."""
