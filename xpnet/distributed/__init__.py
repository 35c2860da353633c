"""The processes of a run, and what they do together. One process by default; the engines are MPI and NCCL."""

from xpnet.distributed.communicator import Communicator, single

__all__ = ["Communicator", "single"]
