"""The archive of raw messages: spooled to disk before they are acknowledged, hourly Parquet files."""
