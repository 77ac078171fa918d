"""Bearer tokens: who may do what."""
