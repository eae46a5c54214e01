"""Datasets to trained, exported models. TensorFlow; no Beam, no Kubeflow."""
