"""The aggregator tier: SQL in, fragments to the leaves, partial results finished, Arrow out."""
