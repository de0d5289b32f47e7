"""The workflows that ship: one file each, found by name (``workflow.kind``)."""
