"""Evaluation: FID, KID, LPIPS and mIoU with stated protocols; folders of layouts to folders of pictures."""

from semantic_synthesis.evaluation.evaluating import EvaluateOptions, evaluate
from semantic_synthesis.evaluation.generating import GenerateOptions, generate

COMMANDS = {"generate": (GenerateOptions, generate), "evaluate": (EvaluateOptions, evaluate)}
