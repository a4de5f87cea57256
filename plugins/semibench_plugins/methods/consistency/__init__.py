"""Methods that keep predictions consistent under noise, dropout, different weights or adversarial examples."""
