"""What the conformance program checks, by subject. See `conformance.py`."""
