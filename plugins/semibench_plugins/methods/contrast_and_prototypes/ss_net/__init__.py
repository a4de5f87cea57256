"""SS-Net: smoothness under adversarial noise, and separation of classes by stored features."""
