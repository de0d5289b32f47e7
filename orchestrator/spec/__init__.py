"""What a cell asks for: cell, protocol, engine options, hardware, model, workload, settings, names."""
