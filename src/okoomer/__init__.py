"""okoomer keeps a Linux machine usable when memory runs out."""

__version__ = "0.1.0"
