"""The database: migrations, retention, status, backup and logins, for both editions."""
