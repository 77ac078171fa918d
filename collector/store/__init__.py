"""Readings into the database: batches, writer, group commit, late hours, parallel writers, births, quarantine."""
