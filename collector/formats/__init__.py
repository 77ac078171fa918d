"""Payload formats: from the bytes and topic of a message to measurements. Pure."""
