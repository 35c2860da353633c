"""Training: the Trainer, its steps, metrics, callbacks, checkpoints and runs."""

from xpnet.train.callbacks import BestCheckpoint, Callback, EarlyStopping, JsonLines, SaveCheckpoint
from xpnet.train.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from xpnet.train.gradient_flow import GradientFlow
from xpnet.train.history import History
from xpnet.train.log import Log
from xpnet.train.metrics.average import LossMeter
from xpnet.train.metrics.classes import accuracy, confusion_matrix, top_k_accuracy
from xpnet.train.metrics.labels import balanced_accuracy, exact_match, f1_score, precision_recall_f1
from xpnet.train.metrics.regression import mean_absolute_error, r2_score, root_mean_squared_error
from xpnet.train.progress import Progress
from xpnet.train.runs.config import RunConfig
from xpnet.train.runs.evaluation import evaluate_run, open_run
from xpnet.train.runs.prediction import predict_run
from xpnet.train.runs.training import train_run
from xpnet.train.step import Step
from xpnet.train.tasks import TASKS, Task, infer_task, make_task
from xpnet.train.tensorboard import TensorBoard
from xpnet.train.trainer import Trainer

__all__ = [
    "TASKS",
    "BestCheckpoint",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "GradientFlow",
    "History",
    "JsonLines",
    "Log",
    "LossMeter",
    "Progress",
    "RunConfig",
    "SaveCheckpoint",
    "Step",
    "Task",
    "TensorBoard",
    "Trainer",
    "accuracy",
    "balanced_accuracy",
    "confusion_matrix",
    "evaluate_run",
    "exact_match",
    "f1_score",
    "infer_task",
    "make_task",
    "mean_absolute_error",
    "open_run",
    "precision_recall_f1",
    "predict_run",
    "r2_score",
    "read_checkpoint",
    "root_mean_squared_error",
    "top_k_accuracy",
    "train_run",
    "write_checkpoint",
]
