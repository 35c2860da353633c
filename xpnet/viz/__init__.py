"""Pictures of networks and of their training, by matplotlib (extra: viz), which is loaded when a picture is drawn.

    from xpnet import viz

    viz.filters(model, "conv1").savefig("filters.png")
    viz.curves(trainer.history, ax=axes)

Each function that draws returns a matplotlib Figure: a new one, or that of the axes given as ``ax``. What is on a
device is copied to the host once. save writes a figure to a file, report describes a whole run on one page.
"""

# Not when first named, as in xpnet: several functions are called like their files, and would be hidden by them.
from xpnet.viz.activity import activations
from xpnet.viz.blocks import blocks
from xpnet.viz.boundary import decision_boundary
from xpnet.viz.canvas import save
from xpnet.viz.confusion import confusion, mistakes
from xpnet.viz.curves import compare, curves
from xpnet.viz.filters import filters
from xpnet.viz.gradients import gradient_flow
from xpnet.viz.maps import feature_maps, saliency
from xpnet.viz.multilabel import multilabel
from xpnet.viz.reconstruction import reconstruction
from xpnet.viz.regression import regression
from xpnet.viz.report import report, write_report
from xpnet.viz.summary import summarize
from xpnet.viz.volumes import volumes

__all__ = [
    "activations",
    "blocks",
    "compare",
    "confusion",
    "curves",
    "decision_boundary",
    "feature_maps",
    "filters",
    "gradient_flow",
    "mistakes",
    "multilabel",
    "reconstruction",
    "regression",
    "report",
    "saliency",
    "save",
    "summarize",
    "volumes",
    "write_report",
]
