"""Measurements to readings: the one rule for value, unit, time and bounds."""
