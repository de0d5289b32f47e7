"""Workflows as Ray task graphs: one actor a role, its calls' inputs the outputs of their parents."""
