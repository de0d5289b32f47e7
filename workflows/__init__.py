"""What is asked of a model: requests, step graphs, arrivals, token lengths. No Ray, no vLLM."""
