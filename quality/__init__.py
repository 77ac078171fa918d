"""Data quality: Soda contracts for sources and marts, their results in the database, and alerts on failures."""
