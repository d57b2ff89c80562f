"""What the leaves shall run, and what is left to do here."""
