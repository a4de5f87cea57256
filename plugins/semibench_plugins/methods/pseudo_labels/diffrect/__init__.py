"""DiffRect: a latent diffusion network corrects pseudo-labels."""
