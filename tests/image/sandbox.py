"""Starts pipeline steps in a built image instead of in this machine's Python."""

from tests.image.builder import Image
from tests.kubeflow.backend.sandbox import Sandbox

# Mounted in a container, or made as mount points.
_NOT_OF_THE_IMAGE = {'dev', 'proc', 'sys', 'tmp', 'mnt'}


class ImageSandbox(Sandbox):
    """Starts steps as the user of an image, in its file system, which is read-only.

    Args:
        image: The image.
    """

    def __init__(self, image: Image):
        super().__init__('root')
        self._image = image

    def _environment(self) -> dict[str, str]:
        return self._image.environment

    def _read_only(self) -> dict[str, str]:
        return {
            f'/{path.name}': str(path)
            for path in sorted(self._image.root.iterdir())
            if path.name not in _NOT_OF_THE_IMAGE
        }
