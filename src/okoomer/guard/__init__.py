"""The resident part: senses, decides, acts. Standard library only; tests hold the price of its imports."""
