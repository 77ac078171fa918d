"""A scan that could not be made."""

from timescale.errors import WarehouseError


class ScanError(WarehouseError):
    """A scan could not be made; the text says why and the mend."""

    exit_status = 3
