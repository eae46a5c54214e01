"""The command line, `mdctr`. What a command needs is imported when it runs."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence

from beam_jobs.errors import UserError
from components.steps import quiet_libraries

WORKSPACE = 'runs'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status: 0, or 2 where the input was wrong."""
    arguments, beam_args = _parser().parse_known_args(argv)
    if beam_args and not getattr(arguments, 'takes_beam_args', False):
        _parser().error(f'unrecognized arguments: {" ".join(beam_args)}')
    arguments.beam_args = beam_args
    quiet_libraries()
    try:
        return arguments.command(arguments) or 0
    except UserError as error:
        print(f'mdctr: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('mdctr: interrupted; the same command goes on where it stopped.',
              file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='mdctr', description='One click-through-rate model for many domains: build the '
        'dataset, check it, train, evaluate and push.')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    run = _add(commands, 'run', _run, 'run the whole pipeline on this machine', beam=True)
    _config_arguments(run)

    compile_ = _add(commands, 'compile', _compile, 'compile the pipeline for a cluster')
    _config_arguments(compile_, workspace=False)
    compile_.add_argument('-o', '--output', required=True, help='the YAML file to write')

    submit = _add(commands, 'submit', _submit, 'run the pipeline on a Kubeflow cluster')
    _config_arguments(submit, workspace=False)
    submit.add_argument('--host', required=True,
                        help='the address of the Kubeflow Pipelines server')
    submit.add_argument('--experiment', default='mdctr', help='the experiment of the run')
    submit.add_argument('--namespace', help='the namespace, on a multi-user cluster')
    submit.add_argument('--recurring', metavar='CRON',
                        help='run a continual pipeline on this schedule instead, in six '
                        "fields with seconds first, e.g. '0 0 3 * * *'")

    dataset = commands.add_parser('dataset', help='fetch raw data, build a dataset')
    datasets = dataset.add_subparsers(required=True, metavar='COMMAND')
    fetch = _add(datasets, 'fetch', _dataset_fetch, "fetch a configuration's raw data")
    _config_arguments(fetch)
    build = _add(datasets, 'build', _dataset_build, 'build the dataset and validate it',
                 beam=True)
    _config_arguments(build)

    validate = _add(datasets, 'validate', _dataset_validate, 'validate a built dataset')
    _config_arguments(validate)
    validate.add_argument('--serving', metavar='SPLIT',
                          help='judge the skew of this split from training, such as a log of '
                          'what was served that `extend` added; absent, the drift of the test '
                          'split')

    extend = _add(datasets, 'extend', _dataset_extend,
                  'add later days to a dataset that was built with dataset.extendable=true, '
                  'as a split of their own', beam=True)
    _config_arguments(extend)
    extend.add_argument('--split', required=True, help='the name of the new split')
    extend.add_argument('--days', required=True, nargs=2, metavar=('FIRST', 'LAST'), type=_day,
                        help='its first and last UTC day, after all that are there')
    extend.add_argument('--inputs', required=True, nargs='+',
                        help='the log of these days, in the layout of the first')

    simulate = _add(datasets, 'simulate', _dataset_simulate,
                    'write a simulated log of many domains, with its true probabilities')
    simulate.add_argument('preset', metavar='PRESET', help='whose figures it takes')
    simulate.add_argument('--rows', type=int, default=1_000_000, help='impressions '
                          '(%(default)s)')
    simulate.add_argument('--seed', type=int, default=1, help='of every draw (%(default)s)')
    simulate.add_argument('--workspace', default=WORKSPACE,
                          help='the log goes to simulated/PRESET in it (%(default)s)')

    train = _add(commands, 'train', _train, 'train and export a model on a built dataset')
    _config_arguments(train)
    train.add_argument('--initial', metavar='MODEL_DIR',
                       help='an exported model whose parameters training starts from')
    train.add_argument('--initial-parts', default='all',
                       choices=['all', 'embeddings', 'id_embeddings'],
                       help='which of them (%(default)s)')
    train.add_argument('--id-features', default=[], nargs='+', metavar='NAME',
                       help='for id_embeddings, ID features beside users and items')
    train.add_argument('--source', metavar='MODEL_DIR',
                       help='the exported source model of ctnet or dual_embedding')
    train.add_argument('--train-splits', nargs='+', metavar='NAME',
                       help='splits to train on; the split train when absent')
    train.add_argument('--validation-split', metavar='NAME',
                       help='the split that stops training early, the split validation when '
                       'absent; `none` to keep the last epoch')
    train.add_argument('--domains', nargs='+', metavar='NAME',
                       help='domains whose rows are used; all when absent')

    add_domain = _add(commands, 'add-domain', _add_domain, 'add a domain to a trained model, '
                      'from the rows of the domain alone')
    _config_arguments(add_domain)
    add_domain.add_argument('--from', required=True, dest='source', metavar='MODEL_DIR',
                            help='the exported model')
    add_domain.add_argument('--domain', required=True, metavar='NAME',
                            help='which the dataset has after those of the model')
    add_domain.add_argument('--train-splits', nargs='+', metavar='NAME', default=['train'],
                            help='splits whose rows of the domain are trained on (train)')
    add_domain.add_argument('--validation-split', metavar='NAME', default='validation',
                            help='the split that stops training early (%(default)s); `none` '
                            'to train all epochs')
    add_domain.add_argument('--parameters', choices=['rows', 'all'],
                            help="what is the domain's own: its rows of the per-domain "
                            'variables, or all parameters; rows where the model has such '
                            'variables')
    add_domain.add_argument('--output', required=True, help='the new export')

    evaluate = _add(commands, 'evaluate', _evaluate, 'evaluate an exported model', beam=True)
    _config_arguments(evaluate)
    evaluate.add_argument('--model-directory', required=True,
                          help='an exported or pushed model')
    evaluate.add_argument('--output', required=True, help='where the evaluation goes')

    compare = _add(commands, 'compare', _compare,
                   'train models and frameworks on the same splits, and tabulate them')
    _config_arguments(compare)
    compare.add_argument('--models', required=True, type=_names,
                         help='names of the registry between spaces; name:key=value,... for a '
                         'variant, name+framework for one with a framework of its own')
    compare.add_argument('--frameworks', type=_names,
                         help="learning frameworks between spaces; the configuration's own "
                         'when absent')
    compare.add_argument('--references', type=_names, default=[],
                         help='references from outside between spaces: boosted_trees')
    compare.add_argument('--seeds', type=int, default=3, help='runs of each (%(default)s)')
    compare.add_argument('--jobs', type=int, default=1,
                         help='runs at once, which divide the cores (%(default)s)')
    compare.add_argument('--output', help='where the tables go; absent, beside the runs in '
                         'compare/NAME of the workspace')
    compare.add_argument('--baseline', help='what the others are compared with; the first '
                         'method when absent')

    push = _add(commands, 'push', _push, 'push an evaluated model if it is blessed')
    _config_arguments(push)
    push.add_argument('--model-directory', required=True, help='an exported model')
    push.add_argument('--evaluation', required=True, help='its evaluation')
    return parser


def _add(commands, name: str, function, text: str, beam: bool = False):
    if beam:
        text_more = text + '; options it does not know go to Beam (--runner=...)'
    parser = commands.add_parser(name, help=text, description=text_more if beam else text)
    parser.set_defaults(command=function, takes_beam_args=beam)
    return parser


def _config_arguments(parser: argparse.ArgumentParser, workspace: bool = True) -> None:
    parser.add_argument('config', metavar='CONFIG',
                        help='a configuration file, or the name of a built-in one')
    parser.add_argument('--model', help='the architecture; short for --set train.model.name=')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE',
                        help='changes a value of the configuration, e.g. train.epochs=3')
    if workspace:
        parser.add_argument('--workspace', default=WORKSPACE,
                            help='the directory that everything is kept in (%(default)s)')


def _load(arguments: argparse.Namespace):
    from pipeline.config import load_config

    overrides = list(arguments.set)
    if arguments.model:
        overrides.append(f'train.model.name={arguments.model}')
    return load_config(arguments.config, overrides)


def _run(arguments: argparse.Namespace) -> int:
    from pipeline.local import StepFailed, run_local

    config = _load(arguments)
    try:
        if config.continual is not None:
            return _walk(config, arguments)
        outputs = run_local(config, arguments.workspace, arguments.beam_args)
    except StepFailed as error:
        print(f'mdctr: {error}', file=sys.stderr)
        return 1
    logs = os.path.dirname(os.path.dirname(outputs['logs'].path))
    _show_evaluation(outputs['evaluation'].path)
    print(f'\nThe model: {outputs["model"].path}')
    metadata = outputs['pushed'].metadata
    if metadata['pushed']:
        print(f'Pushed: {outputs["pushed"].path}')
    else:
        print(f'Not pushed: {metadata["reason"]}')
    tensorboard = os.path.join(os.path.dirname(sys.executable), 'tensorboard')
    print(f'Look at it: {shlex.join([tensorboard, "--logdir", logs])}')
    return 0


def _walk(config, arguments: argparse.Namespace) -> int:
    from components.continual.context import Context
    from components.continual.history import history_table
    from pipeline.local import walk_local

    done = walk_local(config, arguments.workspace, arguments.beam_args)
    if not done:
        print('There is no new day: nothing was to be done.')
    print(history_table(Context(config.name, config.continual,
                                os.path.abspath(arguments.workspace))))
    return 0


def _show_evaluation(directory: str) -> None:
    from pipeline.table import metrics_table

    with open(os.path.join(directory, 'metrics.json'), encoding='utf-8') as file:
        evaluation = json.load(file)
    print(metrics_table(evaluation))
    print(f'\n{"Blessed" if evaluation["blessed"] else "Not blessed"}: '
          + '; '.join(evaluation['reasons']))


def _compile(arguments: argparse.Namespace) -> None:
    from pipeline.compile import compile_pipeline

    compile_pipeline(_load(arguments), arguments.output)
    print(f'Wrote {arguments.output}')


def _submit(arguments: argparse.Namespace) -> None:
    from pipeline.compile import submit, submit_recurring

    config = _load(arguments)
    where = arguments.host, arguments.experiment, arguments.namespace
    if arguments.recurring is not None:
        run = submit_recurring(config, *where, arguments.recurring)
        print(f'Created the recurring run {run} on {arguments.host}')
    else:
        print(f'Started the run {submit(config, *where)} on {arguments.host}')


def _dataset_fetch(arguments: argparse.Namespace) -> None:
    from beam_jobs.readers import make_reader
    from components.steps import cache_directory

    config = _load(arguments)
    for path in make_reader(config.dataset, cache_directory(arguments.workspace)).files():
        print(path)


def _dataset_build(arguments: argparse.Namespace) -> None:
    from beam_jobs.build import build_dataset
    from components.steps import cache_directory, dataset_directory

    config = _load(arguments)
    directory = dataset_directory(arguments.workspace, config.name)
    build_dataset(config.dataset, config.name, directory,
                  cache_directory(arguments.workspace), beam_args=arguments.beam_args)
    _validate(directory, config.validate)
    print(f'The dataset: {directory}')


def _dataset_validate(arguments: argparse.Namespace) -> None:
    import dataclasses

    from components.steps import dataset_directory

    config = _load(arguments)
    settings = config.validate
    if arguments.serving:
        settings = dataclasses.replace(settings, test=arguments.serving)
    _validate(dataset_directory(arguments.workspace, config.name), settings)


def _validate(directory: str, settings) -> None:
    from beam_jobs.validate import validate_dataset

    output = os.path.join(directory, 'validation')
    found = validate_dataset(directory, output, settings)
    report = os.path.join(output, 'report.html')
    if found.anomalies:
        raise UserError(f'{found.message} The report is {report}.')
    print(f'{found.message}\nThe report: {report}')


def _day(text: str) -> str:
    import datetime

    return datetime.date.fromisoformat(text).isoformat()


def _dataset_extend(arguments: argparse.Namespace) -> None:
    from beam_jobs.extend import extend_dataset
    from components.steps import cache_directory, dataset_directory

    config = _load(arguments)
    directory = dataset_directory(arguments.workspace, config.name)
    manifest = extend_dataset(directory, directory, arguments.split, tuple(arguments.days),
                              arguments.inputs, cache_directory(arguments.workspace),
                              beam_args=arguments.beam_args)
    examples = sum(manifest.splits[arguments.split].examples.values())
    print(f'{directory} has {examples:,} examples more, as the split {arguments.split}')


def _dataset_simulate(arguments: argparse.Namespace) -> None:
    from beam_jobs.simulate import simulate

    directory = os.path.join(arguments.workspace, 'simulated', arguments.preset)
    ceiling = simulate(arguments.preset, arguments.rows, directory, seed=arguments.seed)
    overall = ceiling['all']['overall']
    print(f'{overall["impressions"]:,} impressions in {directory}; no model of them can be '
          f'expected above AUC {overall["auc"]:.4f}, GAUC {overall["gauc"]:.4f}, nor below a '
          f'log loss of {overall["log_loss"]:.4f}')


def _train(arguments: argparse.Namespace) -> None:
    from beam_jobs.dataset import read_manifest
    from components.steps import dataset_directory, run_directory
    from trainer.train import train

    config = _load(arguments)
    dataset = dataset_directory(arguments.workspace, config.name)
    start, fingerprint = _start(arguments), read_manifest(dataset).fingerprint
    if start:
        fingerprint += ' ' + repr(start)
    run = run_directory(arguments.workspace, config.name, fingerprint, config.train)
    print(f'The model: {train(dataset, run, config.train, **start)}')


def _start(arguments: argparse.Namespace) -> dict:
    """What `train` is told of rows and of models to start from."""
    start = {key: value for key, value in (
        ('train_split', arguments.train_splits), ('domains', arguments.domains),
        ('source', arguments.source), ('validation_split', arguments.validation_split))
        if value is not None}
    if arguments.validation_split == 'none':
        start['validation_split'] = None
    if arguments.initial:
        from trainer.trained import Initial

        start['initial'] = Initial(arguments.initial, arguments.initial_parts,
                                   tuple(arguments.id_features))
    return start


def _add_domain(arguments: argparse.Namespace) -> None:
    from components.steps import dataset_directory
    from trainer.add_domain import add_domain

    config = _load(arguments)
    validation = None if arguments.validation_split == 'none' else arguments.validation_split
    print('The model: ' + add_domain(
        arguments.source, dataset_directory(arguments.workspace, config.name),
        arguments.domain, arguments.output, config.train, arguments.train_splits, validation,
        arguments.parameters))


def _evaluate(arguments: argparse.Namespace) -> None:
    from beam_jobs.evaluate import evaluate
    from components.steps import dataset_directory, models_directory
    from trainer.push import latest_version

    config = _load(arguments)
    evaluate(dataset_directory(arguments.workspace, config.name), arguments.model_directory,
             arguments.output, config.evaluate,
             baseline=latest_version(models_directory(arguments.workspace), config.name),
             beam_args=arguments.beam_args)
    _show_evaluation(arguments.output)


def _names(text: str) -> list[str]:
    return text.split()


def _compare(arguments: argparse.Namespace) -> int:
    from components.steps import dataset_directory
    from pipeline.compare.methods import methods_of, references_of
    from pipeline.compare.report import write_reports
    from pipeline.compare.run import compare

    config = _load(arguments)
    for key in ('seeds', 'jobs'):
        if getattr(arguments, key) < 1:
            raise UserError(f'--{key} must be at least 1.')
    if config.continual is not None:
        return _compare_transfer(config, arguments)
    methods = methods_of(config.train, arguments.models,
                         arguments.frameworks or [config.train.framework])
    methods += references_of(config.train, arguments.references)
    baseline = _baseline(arguments, [method.name for method in methods])
    directory = os.path.join(arguments.workspace, 'compare', config.name)
    dataset = dataset_directory(arguments.workspace, config.name)
    results, failures = compare(dataset, directory, methods, range(1, arguments.seeds + 1),
                                jobs=arguments.jobs)
    _tell(failures, results)
    print(write_reports(dataset, arguments.output or directory, results, baseline))
    return 1 if failures else 0


def _baseline(arguments: argparse.Namespace, names: list[str]) -> str:
    baseline = arguments.baseline or names[0]
    if baseline not in names:
        raise UserError(f'--baseline {baseline} is none of the methods {", ".join(names)}.')
    return baseline


def _tell(failures: list[str], results: list) -> None:
    for sentence in failures:
        print(f'mdctr: {sentence}', file=sys.stderr)
    if not results:
        raise UserError('No run of the comparison finished.')


def _compare_transfer(config, arguments: argparse.Namespace) -> int:
    from components.steps import dataset_directory
    from pipeline.compare.transfer.recipes import recipe_of
    from pipeline.compare.transfer.run import compare_transfer
    from pipeline.compare.transfer.tables import write_tables

    if arguments.frameworks or arguments.references:
        which = '--frameworks' if arguments.frameworks else '--references'
        raise UserError(f'{which} does not go with a configuration that has a section '
                        'continual, whose methods are compared period after period.')
    recipes = [recipe_of(text) for text in dict.fromkeys(arguments.models)]
    baseline = _baseline(arguments, [recipe.name for recipe in recipes])
    directory = os.path.join(arguments.workspace, 'compare', config.name)
    results, failures = compare_transfer(
        dataset_directory(arguments.workspace, config.name), directory, config.continual,
        recipes, range(1, arguments.seeds + 1), arguments.jobs)
    _tell(failures, results)
    print(write_tables(arguments.output or directory, results, baseline))
    return 1 if failures else 0


def _push(arguments: argparse.Namespace) -> None:
    from components.steps import models_directory
    from trainer.push import push

    config = _load(arguments)
    result = push(arguments.model_directory, arguments.evaluation,
                  models_directory(arguments.workspace), config.name)
    print(result.reason if not result.pushed else f'Pushed: {result.path}')


if __name__ == '__main__':
    sys.exit(main())
