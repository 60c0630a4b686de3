"""The platform on one machine: Spark with Delta, an AWS without an account, and its event source mapping."""
