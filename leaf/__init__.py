"""The leaf tier: shards on RocksDB that apply pushes and run fragments."""
