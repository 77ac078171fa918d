"""Alerts: incidents and the notifications about them."""
