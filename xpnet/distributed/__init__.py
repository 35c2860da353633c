"""The processes of a run, and what they do together. One process by default; the engines are MPI and NCCL."""

from xpnet.distributed.communicator import Communicator, single
from xpnet.distributed.facts import check_agreement, data_facts, model_facts, version_facts
from xpnet.distributed.faults import aborting, install
from xpnet.distributed.first import by_first
from xpnet.distributed.gathering import merge_nodes
from xpnet.distributed.launched import Launched, get_communicator, launched
from xpnet.distributed.mpi import mpi
from xpnet.distributed.nccl import nccl
from xpnet.distributed.reduction import PlainReduction, Reduced, Reduction, TreeReduction
from xpnet.distributed.tree import Node, Tree

__all__ = [
    "Communicator",
    "Launched",
    "Node",
    "PlainReduction",
    "Reduced",
    "Reduction",
    "Tree",
    "TreeReduction",
    "aborting",
    "by_first",
    "check_agreement",
    "data_facts",
    "get_communicator",
    "install",
    "launched",
    "merge_nodes",
    "model_facts",
    "mpi",
    "nccl",
    "single",
    "version_facts",
]
