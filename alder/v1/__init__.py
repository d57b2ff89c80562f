"""Generated from `protos/alder/v1`; see `make protos`."""
