"""Sources: where a partition's records come from, all behind one protocol."""
