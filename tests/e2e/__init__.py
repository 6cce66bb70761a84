"""The real process, its real clients, and disks that are full or cannot be written."""
