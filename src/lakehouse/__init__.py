"""Change data from DynamoDB to Unity Catalog Delta tables, every row once, deletes included.

Importing this package imports nothing else: no pyspark, no boto3.
"""
