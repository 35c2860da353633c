"""The processes of a run, and what they do together. One process by default; the engines are MPI and NCCL."""

from xpnet.distributed.communicator import Communicator, single
from xpnet.distributed.gathering import merge_nodes
from xpnet.distributed.mpi import mpi
from xpnet.distributed.reduction import PlainReduction, Reduced, Reduction, TreeReduction
from xpnet.distributed.tree import Node, Tree

__all__ = [
    "Communicator",
    "Node",
    "PlainReduction",
    "Reduced",
    "Reduction",
    "Tree",
    "TreeReduction",
    "merge_nodes",
    "mpi",
    "single",
]
