"""Writes the changes of DynamoDB streams, and Kinesis events, to S3 as gzipped NDJSON change records.

Standard library only, and boto3 for the one put. Nothing is shared with the readers but the form
of the change record.
"""
