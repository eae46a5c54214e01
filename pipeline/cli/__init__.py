"""The command line, `mdctr`."""
