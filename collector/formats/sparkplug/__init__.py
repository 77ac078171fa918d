"""Format ``sparkplug``: Sparkplug B (payloads, metrics, node sessions)."""
