"""The catalog: schemas, tables and views from their declarations, and what governs them."""
