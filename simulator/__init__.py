"""Turns ``sensors.json`` into MQTT traffic, and runs the demonstration."""
