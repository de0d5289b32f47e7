"""Pool, compare and recommend: pure functions of the table of results."""
