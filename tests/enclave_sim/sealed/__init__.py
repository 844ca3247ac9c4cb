"""Tests of sealed storage; helpers are imported relatively."""
