"""What talks to AWS itself: scans, exports and fresh reads of DynamoDB. boto3 is imported when it is used."""
