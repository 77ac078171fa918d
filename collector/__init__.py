"""Everything that brings readings in; the only writer of the schema ``telemetry``."""
