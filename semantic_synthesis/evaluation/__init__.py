"""Evaluation: FID, KID, LPIPS and mIoU with stated protocols; folders of layouts to folders of pictures."""

from semantic_synthesis.evaluation.evaluating import EvaluateOptions, evaluate
from semantic_synthesis.evaluation.generating import generate
from semantic_synthesis.evaluation.jobs import GenerateOptions
from semantic_synthesis.options import Command

COMMANDS = {
    "generate": Command(
        GenerateOptions,
        generate,
        "generate --checkpoint_dir demo_spade --label_dir maps --results_dir pictures",
    ),
    "evaluate": Command(
        EvaluateOptions,
        evaluate,
        "evaluate --checkpoint_dir checkpoints/mine --metrics fid,miou",
    ),
}
