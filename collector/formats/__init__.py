"""Payload formats: bytes and topic in, readings or a reason out. Pure."""
