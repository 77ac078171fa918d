"""HTTP: what is stored can be read, and readings can be posted."""
