"""Runs compiled pipelines by the rules of Kubeflow Pipelines 2.17, without a cluster.

Written after the behaviour of KFP's driver, launcher and compiler to Argo Workflows:

    spec            the compiled pipeline: its intermediate representation (IR)
    expressions     conditions of `dsl.If`, in CEL
    artifact_store  where artifacts go by their URIs, and which URIs are accepted
    metadata        what the metadata store (MLMD) makes of an artifact's metadata
    driver          resolves a task's inputs and provides its outputs
    launcher        downloads inputs, runs a step's command, uploads outputs
    sandbox         the process of a step: its user, its file system
    workflow        tasks in order: dependencies, conditions, retries, nested DAGs

It does not cover loops (`dsl.ParallelFor`), exit handlers and caching, which no pipeline of
this project uses; it refuses a pipeline that does.
"""
