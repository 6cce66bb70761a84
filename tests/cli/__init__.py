"""Tests of `runtime.cli`: commands in this process, the runtime that they talk to in another."""
