"""Packaging. Beam workers install the project from this file (``--setup_file ./setup.py``).

The version ranges state what the code needs; ``requirements.txt`` locks what was tested.
"""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent

CONFIGURATION = ['pydantic>=2.7', 'ruamel.yaml>=0.18']
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


def read_version() -> str:
    """``mdctr.__version__``, read as text: the dependencies may not be installed yet."""
    text = (ROOT / 'mdctr' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", text, re.MULTILINE).group(1)


setup(
    name='mdctr',
    version=read_version(),
    description='One click-through-rate model for many domains, as a Kubeflow pipeline.',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='The mdctr authors',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=[
        'click-through rate',
        'CTR prediction',
        'multi-domain recommendation',
        'Kubeflow Pipelines',
        'Apache Beam',
        'TensorFlow',
        'STAR',
        'AdaSparse',
        'MAMDR',
        'CTNet',
    ],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.11',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    python_requires='>=3.11,<3.12',
    packages=find_packages(
        include=['mdctr*', 'beam_jobs*', 'trainer*', 'components*', 'pipeline*']
    ),
    package_data={'pipeline': ['configs/*.yaml']},
    install_requires=[
        'fsspec>=2024.10',
        'numpy>=1.26',
        'pydantic>=2.7',
        'ruamel.yaml>=0.18',
        'scipy>=1.11',
        *BEAM,
        *TENSORFLOW,
        *VALIDATION,
    ],
    extras_require={
        'pipeline': ['kfp>=2.13', 'kfp-kubernetes>=1.5'],
        's3': ['s3fs>=2024.10'],
        'gcs': ['gcsfs>=2024.10'],
        'test': [
            'coverage[toml]>=7.10',
            'kubernetes-validate',
            'mypy',
            'pytest',
            'pytest-timeout',
            'pytest-xdist',
            'ruff',
            'scikit-learn',
        ],
    },
    entry_points={'console_scripts': ['mdctr=pipeline.cli.main:main']},
)
