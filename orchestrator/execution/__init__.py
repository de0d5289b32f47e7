"""Where cells run: the scheduler, its policy and the executors."""
