"""A real Elasticsearch on this machine: found when it runs, started when it does not, stopped only when it is ours."""

from .checks import Check, Diagnosis, doctor
from .distribution import VERSION
from .lifecycle import Down, Node, address, down, running, up

__all__ = ["VERSION", "Check", "Diagnosis", "Down", "Node", "address", "doctor", "down", "running", "up"]
