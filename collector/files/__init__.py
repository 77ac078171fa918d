"""Files of readings: CSV and Parquet as whole columns, NDJSON line by line, all to the batches the writer takes."""
