"""Any torch module that maps images to logits as a backbone."""
