"""What sweeps say when they are asked: pure functions of records, without a store, a console or a clock."""
