"""MedFCT: a convolutional network and a transformer that exchange features in the Fourier domain, with a teacher."""
