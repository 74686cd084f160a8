"""The device of the computation."""

from __future__ import annotations

import torch


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device for a value of the parameter ``device``, if it can be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(1, device=resolved)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"'device' {str(device)!r} cannot be used on this machine. Use 'auto' or "
            f"'cpu', or install a torch that supports it. {error}"
        ) from error
    return resolved
