"""Quality: Soda contracts over what people rely on, their results in the database, and people told of what changes."""
