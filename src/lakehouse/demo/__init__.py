"""The demo: sample data, the same figures counted from the source, and the chain shown at work."""
