"""What the errors of the libraries say: that there is no memory left, or that the device is gone."""

from __future__ import annotations

__all__ = ["is_device_lost", "is_out_of_memory"]

# Codes of CUDA's runtime and driver after which every call of the process fails, and how libraries put them in words;
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
    """Whether an error of any backend's library says that the device, or the host, has no memory left."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(
            code in text for code in ("RESOURCE_EXHAUSTED", "ALLOC_FAILED", "ErrorMemoryAllocation", "OUT_OF_MEMORY")
        )
    )


def is_device_lost(error: BaseException) -> bool:
    """Whether an error of any backend's library says that the device will do nothing more for this process."""
    text = f"{type(error).__name__} {error}".lower().replace("_", "")
    return not is_out_of_memory(error) and any(code in text for code in _LOST)
