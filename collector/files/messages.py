"""Messages to batches, by the decoder of live ones or another. Pure."""

from collections.abc import Iterable, Iterator

from collector.files.chunk import MAXIMUM_DAYS
from collector.files.table_file import MAXIMUM_BYTES
from collector.message import Decoded, Message
from collector.store.batch import Batch, Decode

_DAY = 86_400_000_000


def batches(messages: Iterable[Message], decode: Decode, rows: int) -> Iterator[Batch]:
    """Yield ``messages`` as batches of about ``rows`` readings."""
    days: set[int] = set()

    def noting_days(message: Message) -> Decoded:
        decoded = decode(message)
        days.update([instant // _DAY for _, instant, _ in decoded.readings])
        return decoded

    batch = Batch()
    for message in messages:
        batch.add(message, noting_days)
        if max(batch.row_count, len(batch.messages)) >= rows or batch.size >= MAXIMUM_BYTES or len(days) > MAXIMUM_DAYS:
            yield batch
            batch = Batch()
            days.clear()
    if batch.messages:
        yield batch
