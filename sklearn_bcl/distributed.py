"""Training of one model by several processes, on one machine or on several."""

from sklearn_bcl._processes import Processes, all_processes

__all__ = ["Processes", "all_processes"]
