"""The gRPC services: translate, authenticate, call one function. No logic."""
