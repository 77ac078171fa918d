"""Lists: query parameters, queries, pages, cursors and media types."""
