"""Offline files, read: packet by packet, filtered, summed up."""
