"""U2PL: the method is in `method`, its contrastive loss with a memory of negatives in `contrast`."""
