"""A scan that could not be made, and people who could not be told."""

from core.errors import WarehouseError


class ScanError(WarehouseError):
    """A scan could not be made; the text says why and the mend."""

    exit_status = 3


class NotifyError(WarehouseError):
    """People could not be told; the text says by which way, why and the mend."""
