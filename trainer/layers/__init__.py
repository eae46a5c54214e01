"""The layers of the papers, one idea a file; each docstring names its equations."""
