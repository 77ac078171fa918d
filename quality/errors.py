"""Errors of scans and notifications."""

from core.errors import WarehouseError


class ScanError(WarehouseError):
    """A scan could not run; the message says why and how to fix it."""

    exit_status = 3


class NotifyError(WarehouseError):
    """A notification could not be sent; the message names the channel, the reason and the fix."""
