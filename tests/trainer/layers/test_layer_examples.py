"""The examples in the docstrings of the layers."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import trainer.layers
from trainer.keras import keras

MODULES = [
    module.name
    for module in pkgutil.walk_packages(trainer.layers.__path__, 'trainer.layers.')
    if not module.ispkg
]


@pytest.mark.parametrize('name', MODULES)
def test_examples_are_true(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert not failed


@pytest.mark.parametrize('name', MODULES)
def test_every_registered_layer_has_an_example(name):
    module = importlib.import_module(name)
    for layer in vars(module).values():
        if inspect.isclass(layer) and layer.__module__ == name:
            registered = keras.utils.get_registered_name(layer)
            if registered.startswith('mdctr>'):
                assert '>>> ' in layer.__doc__, registered
