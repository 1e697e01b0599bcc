"""Manages a local Elasticsearch node: finds it, starts it, and stops it if es-rerank started it."""

from .checks import FULL, Check, Diagnosis, doctor
from .distribution import STRIPPED, VERSION
from .lifecycle import Down, Node, address, down, moved_from, running, up

__all__ = [
    "FULL",
    "STRIPPED",
    "VERSION",
    "Check",
    "Diagnosis",
    "Down",
    "Node",
    "address",
    "doctor",
    "down",
    "moved_from",
    "running",
    "up",
]
