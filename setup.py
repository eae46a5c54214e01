"""Packaging. Beam workers install the project from this file (``--setup_file ./setup.py``).

The ranges here say what the code needs; ``requirements.txt`` says what was tested.
"""

from setuptools import find_packages, setup

TENSORFLOW = [
    'tensorflow>=2.16,<2.19',
    'tf-keras>=2.16,<2.19',
    'tensorflow-recommenders>=0.7.3',
]
BEAM = [
    'apache-beam[tfrecord]>=2.60',
    'pyarrow>=10',
    'pyarrow-hotfix',
    'pandas>=1.5',
]
VALIDATION = [
    'tensorflow-data-validation>=1.16',
    'tfx-bsl>=1.16',
    'dill',
]

setup(
    name='mdctr',
    version='0.1.0',
    description='One click-through-rate model for many domains, as a Kubeflow pipeline.',
    python_requires='>=3.11,<3.12',
    packages=find_packages(
        include=['beam_jobs*', 'trainer*', 'components*', 'pipeline*']
    ),
    package_data={'pipeline': ['configs/*.yaml']},
    install_requires=['numpy>=1.26', 'PyYAML>=6', *BEAM, *TENSORFLOW, *VALIDATION],
    extras_require={
        'pipeline': ['kfp>=2.13', 'kfp-kubernetes>=1.5', 'scipy'],
        'test': ['pytest', 'pytest-timeout', 'pytest-xdist', 'scikit-learn',
                 'kubernetes-validate', 'ruff'],
    },
    entry_points={'console_scripts': ['mdctr=pipeline.cli:main']},
)
