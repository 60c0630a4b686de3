"""A Databricks workspace: the jobs in it, and the jobs that run there."""
