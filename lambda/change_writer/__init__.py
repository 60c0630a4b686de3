"""Writes the changes of DynamoDB streams, and Kinesis events, to S3 as change records in gzipped NDJSON.

Standard library only, and boto3 for the one put; pyarrow too where they are to land as Parquet. Nothing is
shared with the readers but the form of the change record.
"""
