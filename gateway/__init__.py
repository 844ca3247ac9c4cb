"""The gateway: decides who may run what, and never sees data."""
