"""Training: the Trainer, its steps, metrics, callbacks, checkpoints and runs."""

from xpnet.train.callbacks import BestCheckpoint, Callback, EarlyStopping, JsonLines, SaveCheckpoint
from xpnet.train.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from xpnet.train.gradient_flow import GradientFlow
from xpnet.train.history import History
from xpnet.train.metrics import LossMeter, accuracy, confusion_matrix, top_k_accuracy
from xpnet.train.progress import Progress
from xpnet.train.run import train_run
from xpnet.train.run_config import RunConfig
from xpnet.train.run_evaluation import evaluate_run, open_run
from xpnet.train.run_prediction import predict_run
from xpnet.train.step import Step
from xpnet.train.trainer import Trainer

__all__ = [
    "BestCheckpoint",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "GradientFlow",
    "History",
    "JsonLines",
    "LossMeter",
    "Progress",
    "RunConfig",
    "SaveCheckpoint",
    "Step",
    "Trainer",
    "accuracy",
    "confusion_matrix",
    "evaluate_run",
    "open_run",
    "predict_run",
    "read_checkpoint",
    "top_k_accuracy",
    "train_run",
    "write_checkpoint",
]
