"""Keeps records, events and blobs. Everybody else sees only the contract."""
