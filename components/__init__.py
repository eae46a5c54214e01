"""The Kubeflow components: each calls one function of beam_jobs or trainer."""
