"""The `@dsl.component` decorator with the settings that all components share."""

import functools
from collections.abc import Callable
from typing import Any

from kfp import dsl

# Lightweight components. The project is already installed in the image (on a cluster) or in the
# current environment (locally), so a step installs nothing when it starts.
component: Callable[[Callable[..., Any]], Callable[..., Any]] = functools.partial(
    dsl.component, base_image='mdctr/python-pipeline:0.1.0', install_kfp_package=False
)
