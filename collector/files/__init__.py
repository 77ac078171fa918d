"""Files of readings as sources: CSV and Parquet by column, NDJSON by line, archives of raw messages."""
