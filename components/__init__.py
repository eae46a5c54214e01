"""The Kubeflow components: each a thin face on one function of beam_jobs or trainer."""
