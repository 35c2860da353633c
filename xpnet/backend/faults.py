"""Which errors of the array libraries mean that memory ran out, or that the device is lost."""

from __future__ import annotations

__all__ = ["is_device_lost", "is_out_of_memory"]

# Codes of CUDA's runtime and driver after which every call of the process fails, and the libraries' messages for them;
# in lower case and without underscores.
_LOST = (
    "illegaladdress",
    "illegal memory access",
    "launchfailure",
    "launchfailed",
    "unspecified launch failure",
    "launchtimeout",
    "eccuncorrectable",
    "uncorrectable ecc",
    "hardwarestackerror",
    "illegalinstruction",
    "misalignedaddress",
    "invalidaddressspace",
    "invalidpc",
    "nvlinkuncorrectable",
    "errorcontained",
    "devicesunavailable",
    "deviceunavailable",
    "errorassert",
    "device-side assert",
    "gpu is lost",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of a backend's library means that the device or the host has no memory left."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(
            code in text for code in ("RESOURCE_EXHAUSTED", "ALLOC_FAILED", "ErrorMemoryAllocation", "OUT_OF_MEMORY")
        )
    )


def is_device_lost(error: BaseException) -> bool:
    """Return whether an error of a backend's library means that the device fails every further call of this process."""
    text = f"{type(error).__name__} {error}".lower().replace("_", "")
    return not is_out_of_memory(error) and any(code in text for code in _LOST)
