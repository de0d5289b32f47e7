"""Pure functions from raw series to window, metrics and reasons, so that any cell can be analysed again."""
