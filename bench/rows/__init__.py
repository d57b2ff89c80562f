"""The rows of the table, by theme; each takes the world and returns a row."""
