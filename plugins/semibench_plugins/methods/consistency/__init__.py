"""Methods that ask for one prediction under noise, dropout, other weights or adversarial examples."""
