"""The sub-commands, one file each: ``run(matrix, settings)`` where it takes a matrix, else ``main(arguments)``."""
