"""The training of nnU-Net: augmentation, deep supervision, long schedule."""
