"""Study a GPU's power sensor under known loads (``doctor sensor``); not used in a sweep."""
