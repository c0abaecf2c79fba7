"""Measurements of okoomer beside its peers, each in the same run and in turns: `python -m bench`."""
