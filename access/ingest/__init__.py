"""Posted readings: payload checks and publishing to the broker."""
