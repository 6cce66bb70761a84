"""Tests of the kernel, one file per group of rules."""
