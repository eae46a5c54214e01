"""How every component of the project is made."""

import functools
from collections.abc import Callable

from kfp import dsl

# Lightweight components: the image (on a cluster) or the current environment (locally)
# already holds the project, so nothing is installed when a step starts.
component: Callable = functools.partial(
    dsl.component, base_image='mdctr/python-pipeline:0.1.0', install_kfp_package=False)
