"""What all parts of mdctr share. Importing it loads neither Beam, TensorFlow nor KFP."""

__version__ = '0.1.0'
