"""What meters a cell: its limits are set before it, its samples taken after it, wherever the sensors are."""
