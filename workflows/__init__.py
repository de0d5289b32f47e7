"""What is asked of a model: requests, step graphs, arrivals and the workflow library. No Ray, no vLLM."""
