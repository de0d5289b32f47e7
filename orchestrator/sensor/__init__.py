"""Study a GPU's power sensor under known loads: record, analyse, draw (``doctor sensor``)."""
