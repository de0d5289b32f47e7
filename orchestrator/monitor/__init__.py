"""Power and limits of one cell beside its engine: open sensors, set limits, restore them, return the series."""
