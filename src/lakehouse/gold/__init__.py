"""What is worked out from the state tables: metrics and alerts."""
