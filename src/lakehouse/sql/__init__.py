"""Pure: from a table's declaration to SQL text. Nothing here needs a session, and no data is in the text."""
