"""What the hardware measures and what is set on it: power sources, the sampler, NVML devices."""
