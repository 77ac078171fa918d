"""What the DAGs share: their rules, what happens when a task fails, and how a build's results become tasks."""
