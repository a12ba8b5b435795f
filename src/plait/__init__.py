"""From raw text to an aligned model and to the agents that run on it, also where the data may not leave its owners."""

__version__ = "0.1.0"
__all__ = ["__version__"]
