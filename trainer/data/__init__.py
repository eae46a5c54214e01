"""Reading a dataset: batches, streaming, vocabularies."""
