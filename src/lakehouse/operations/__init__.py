"""What operators do to tables and landing: upkeep, reconcile, rebuild, quarantine, a look at objects."""
