"""Read power sensors, set GPU limits and clocks, list NVML devices."""
