"""Properties of the kernel that must hold whatever happens."""
