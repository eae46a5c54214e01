"""The Kubeflow pipelines, their configurations, their runners and the command line."""
