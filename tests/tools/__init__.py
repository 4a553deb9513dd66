"""Tests of what sets up a machine."""
