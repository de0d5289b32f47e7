"""Generate the requests sent to a model: step graphs, arrivals, token lengths. No Ray, no vLLM."""
