"""The main job on real patient data: `make demo`. Not part of the distribution."""
