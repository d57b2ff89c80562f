"""The tailer: reads partitions of sources, decodes records into columns and pushes them to
leaves."""
