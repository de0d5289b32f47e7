"""What a GPU's power sensor does: recorded under known loads, and analysed."""
