"""vLLM as an engine: everything that imports it."""
