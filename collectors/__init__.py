"""What the hardware says and is told: power sources and the sampler."""
