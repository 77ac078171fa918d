"""Readings to the database: batches, writer, group commit, late hours, parallel writers, quarantine."""
