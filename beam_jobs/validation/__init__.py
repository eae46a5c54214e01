"""Data validation with TensorFlow Data Validation."""
