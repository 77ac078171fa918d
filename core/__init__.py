"""The kernel that every part uses: errors, settings, logs, console output, durations, database connections."""
