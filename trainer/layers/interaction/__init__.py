"""Feature interactions."""
