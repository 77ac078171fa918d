"""One module per command of ``collector``."""
