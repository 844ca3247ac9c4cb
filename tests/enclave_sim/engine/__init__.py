"""Specification, generated and attack tests of the engines; helpers are imported relatively."""
