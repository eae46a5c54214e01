"""Beam's pool of Python workers, listening on one address; Beam's own `main` listens on all."""

import sys

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils import thread_pool_executor


def main(address: str) -> None:
    """Serves until it is killed; a worker ends when its task manager does."""
    server = grpc.server(
        thread_pool_executor.shared_unbounded_instance(), options=[('grpc.so_reuseport', 0)]
    )
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(
        BeamFnExternalWorkerPoolServicer(use_process=True), server
    )
    if not server.add_insecure_port(address):
        sys.exit(f'{address} is taken')
    server.start()
    server.wait_for_termination()


if __name__ == '__main__':
    main(sys.argv[1])
