"""Run a sweep: order, scheduling, stop rule, resume, records, progress, console."""
