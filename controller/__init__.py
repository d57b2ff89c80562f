"""The control plane: the catalog of collections, shards and nodes, and the embedded log."""
