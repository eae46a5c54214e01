"""Dataset to statistics, anomalies and a report; stops the pipeline at bad data."""

from kfp import dsl

from components.component import component


@component
def validate_data(config: str, dataset: dsl.Input[dsl.Dataset],
                  validation: dsl.Output[dsl.Artifact], report: dsl.Output[dsl.HTML]):
    """Checks the dataset with TensorFlow Data Validation, domain by domain.

    Args:
        config: the `validate` section, as JSON.
        dataset: the dataset's directory.
        validation: the schema, and the anomalies in its metadata.
        report: a page that needs no network to open.
    """
    from components.steps import validate_step

    validate_step(config, dataset, validation, report)
