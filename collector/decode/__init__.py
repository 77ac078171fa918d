"""Measurements to readings, by one rule for value, unit, time and bounds."""
