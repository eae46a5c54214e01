"""The Beam job that turns a raw log into a dataset."""
