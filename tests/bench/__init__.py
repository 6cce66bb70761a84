"""Tests of the bench harness: structure and order, never times."""
