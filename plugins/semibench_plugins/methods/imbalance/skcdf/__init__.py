"""SKCDF: two decoders, attention between labeled and unlabeled samples, and balanced heads."""
