"""What A&D and DTLP-Net share: one encoder, three decoders, their losses and the views of their code."""
