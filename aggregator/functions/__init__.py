"""Functions of SQL: those that a statement may call, and those that Alder adds to the engine."""
