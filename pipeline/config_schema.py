"""The JSON Schema of configurations, with which editors complete and check them."""

from collections.abc import Iterator, Mapping
from typing import Any

from mdctr.registry import Registry
from mdctr.settings import Settings
from pipeline.config import RunConfig

USER_COMPONENT = r'^[\w.]+:\w+$'  # module:Class


def config_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration, with the options of every component.

    The options of a reader, model or framework depend on its name. Their classes are loaded,
    which imports TensorFlow.
    """
    from beam_jobs.readers import READERS
    from trainer.frameworks import FRAMEWORKS
    from trainer.models import MODELS

    schema = RunConfig.model_json_schema()
    definitions = schema['$defs']
    for section, key, options_key, registry in (
        (r'DatasetConfig', 'reader', 'reader_options', READERS),
        (r'ModelConfig', 'name', 'options', MODELS),
        (r'TrainConfig', 'framework', 'framework_options', FRAMEWORKS),
    ):
        for name in [name for name in definitions if name.endswith(section)]:
            _add_options(definitions, name, key, options_key, registry)
    return {
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        **schema,
        'title': 'Configuration of mdctr',
    }


def component_options(registry: Registry[Any]) -> Iterator[tuple[str, type[Settings]]]:
    """The options of every built-in component of a registry, by name."""
    for name in registry:
        yield name, registry.load(name).Options


def _add_options(
    definitions: dict[str, Any],
    section: str,
    key: str,
    options_key: str,
    registry: Registry[Any],
) -> None:
    """Makes the schema of a section's options depend on the name of its component."""
    definition = definitions[section]
    named = definition['properties'][key]
    named['anyOf'] = [{'enum': list(registry)}, {'pattern': USER_COMPONENT}]
    conditions = definition.setdefault('allOf', [])
    for name, options in component_options(registry):
        is_default = named.get('default') == name
        conditions.append(
            {
                'if': {
                    'properties': {key: {'const': name}},
                    **({} if is_default else {'required': [key]}),
                },
                'then': {'properties': {options_key: _options_schema(options, definitions)}},
            }
        )


def _options_schema(options: type[Settings], definitions: dict[str, Any]) -> Mapping[str, Any]:
    schema = options.model_json_schema()
    definitions.update(schema.pop('$defs', {}))
    return schema
