"""The simulated engine: virtual time, scheduling as vLLM V1 does it, step time and power."""
