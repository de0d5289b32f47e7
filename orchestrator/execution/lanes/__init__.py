"""Lanes: a loaded engine and its collector on the GPUs of one node, kept from cell to cell."""
