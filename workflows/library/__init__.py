"""The workflows that ship: one file each, found by its name (`workflow.kind`)."""
