"""A pipeline that looks for the version that another one has pushed."""

from collections.abc import Callable

from kfp import dsl, kubernetes

from components.component import component
from pipeline.config import RunConfig


@component
def find_version(models: str, since: float) -> int:
    """Finds the pushed version that was made after some time.

    Args:
        models: Directory above the versions.
        since: Time in seconds since 1970.

    Returns:
        The version's number.
    """
    import os

    for name in sorted(os.listdir(models), key=lambda name: name.zfill(9), reverse=True):
        path = os.path.join(models, name, 'saved_model.pb')
        if name.isdigit() and os.path.exists(path):
            made = os.stat(os.path.join(models, name)).st_ctime
            if made < since:
                raise SystemExit(f'{path} is of {made}, and the run began at {since}.')
            return int(name)
    raise SystemExit(f'{models} has no version.')


def pushed_version_pipeline(config: RunConfig, since: float) -> Callable[[], None]:
    """A pipeline that succeeds if a model of `config` was pushed after `since`."""
    cluster = config.cluster

    @dsl.pipeline(name='mdctr-pushed-version')
    def pipeline() -> None:
        found = find_version(models=f'{cluster.mount_path}/models/{config.name}', since=since)
        found.set_container_image(cluster.image).set_caching_options(False)
        kubernetes.mount_pvc(found, cluster.volume_claim, cluster.mount_path)

    return pipeline
