"""From raw series to a window and its summary: pure functions, so any cell can be analysed again."""
