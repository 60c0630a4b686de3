"""From sources into bronze and silver: the streams, and what a batch of one writes."""
