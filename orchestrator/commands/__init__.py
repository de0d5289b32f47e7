"""The commands, one file each, found by name: ``run(matrix, settings)`` or ``main(arguments)``."""
