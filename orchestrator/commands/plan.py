"""``plan``: the matrix, what it would cost, and what cannot run; nothing is run or written."""

import json
import sys

from orchestrator.settings import Matrix, Settings


def run(matrix: Matrix, settings: Settings) -> int:
    """Print the plan of a matrix."""
    sys.stdout.write(json.dumps({"command": "plan", "sweep": matrix.name, "cells": len(matrix.cells)}) + "\n")
    return 0
