"""Receipts: what a client verifies by itself."""
