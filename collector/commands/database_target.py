"""The database as the target of a group commit: messages are decoded as they arrive, batches written by a Writer."""

from collections.abc import Callable

from collector.message import Message
from collector.store.batch import Accounts, Batch, Decode
from collector.store.group_commit import Target
from collector.store.writer import Writer, write_until_stopped


class DatabaseTarget(Target[Batch, Accounts]):
    """Batches of readings for ``writer``."""

    def __init__(self, writer: Writer, decode: Decode) -> None:
        self.decode = decode
        """Decodes messages that are added from now on; replaced when the registry changes."""
        self._writer = writer

    def new_batch(self) -> Batch:
        """Return an empty batch."""
        return Batch()

    def new_counts(self) -> Accounts:
        """Return accounts of nothing."""
        return Accounts()

    def add(self, batch: Batch, message: Message) -> None:
        """Decode ``message`` into ``batch``."""
        batch.add(message, self.decode)

    def write(self, batch: Batch, give_up: Callable[[float], bool]) -> Accounts | None:
        """Commit ``batch``, with retries while the database is away."""
        return write_until_stopped(self._writer, batch, self.decode, give_up)

    def interrupt(self) -> None:
        """Break the connection, so that a write that waits for the database fails."""
        self._writer.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()
