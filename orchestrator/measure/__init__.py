"""Turn raw series into window, metrics and reasons: pure functions, so that a record can be analysed again."""
