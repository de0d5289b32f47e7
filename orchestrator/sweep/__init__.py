"""Run a sweep: order, scheduling, stopping, resume, scoring, progress, console."""
