"""The report: one page that shows what is in gold and how fresh it is."""
