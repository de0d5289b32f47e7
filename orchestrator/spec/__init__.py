"""The validated configuration of a cell: engine options, hardware, model, workload, protocol; settings, names."""
