"""Joulegrid: experiments on the performance and energy of LLM inference, composed by Hydra and run on Ray."""

__version__ = "0.1.0"
