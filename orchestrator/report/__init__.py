"""Tables, figures and findings from the records of a sweep."""
