"""The house of the end-to-end tests serves here as well."""

from tests.e2e.conftest import house

__all__ = ["house"]
