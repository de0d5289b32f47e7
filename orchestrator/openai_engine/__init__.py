"""Any server that speaks OpenAI's completions: vLLM serve, SGLang, TGI, llama.cpp. The client is the load generator."""
