"""Lists: query parameters, queries, pagination, media types."""
