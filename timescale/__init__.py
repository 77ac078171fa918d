"""The database: migrations, its two editions, the local server."""
