"""The six protocols: self, similar, synthetic, ssmis, umda, semi-mdg. Registered through the entry-point group."""
