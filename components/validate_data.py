"""Component: validates a dataset; anomalies stop the pipeline."""

from kfp import dsl

from components.component import component


@component
def validate_data(
    name: str,
    config: str,
    workspace: str,
    dataset: dsl.Input[dsl.Dataset],
    validation: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Validates the dataset with TensorFlow Data Validation, domain by domain.

    Args:
        name: Name of the configuration.
        config: Section `data_validation`, as JSON.
        workspace: Directory that the steps of a pipeline share.
        dataset: Location of the dataset.
        validation: Location of the schema and the report; the metadata has the outcome.
        report: HTML page, which opens offline.
    """
    from components.steps import validate_step

    validate_step(name, config, workspace, dataset, validation, report)
