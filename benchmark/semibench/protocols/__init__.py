"""The six protocols: self, similar, synthetic, ssmis, umda, semi-mdg. An entry point registers them."""
