"""Every message as it arrived: on the disk before it is acknowledged, once an hour a Parquet file."""
