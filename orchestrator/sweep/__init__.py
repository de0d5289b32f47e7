"""Run a sweep: driver, order, scheduling, stop rule, resume, record writer, progress, console."""
