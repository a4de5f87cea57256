"""Parts that A&D and DTLP-Net share: an encoder with three decoders, their losses, and the intensity augmentation."""
