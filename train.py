"""Trains a run: python train.py --image_dir photos --label_dir labels --checkpoint_dir checkpoints/mine."""

from semantic_synthesis import command_line  # first: it quietens TensorFlow
from semantic_synthesis.config import Config
from semantic_synthesis.methods import METHODS, extra_maps, instance_maps
from semantic_synthesis.options import asked_before_parsing, define_flags, given_flags, help_text, union
from semantic_synthesis.runs import training_config
from semantic_synthesis.training import Trainer, make_strategy

OPTIONS = union(method.config_class for method in METHODS.values())
define_flags(OPTIONS, defaults=False)


def main():
    """Resolves the options, trains (or resumes), returns the exit code."""
    from semantic_synthesis import data

    config = training_config(given_flags(OPTIONS), data.resolve)
    strategy = make_strategy(config.distribute)  # before any other use of TensorFlow
    dataset = data.open_dataset(config, instance_maps=instance_maps(config), extra_maps=extra_maps(config))
    trainer = Trainer(config, dataset, strategy, evaluations(config))
    if trainer.is_chief:
        config.save(config.checkpoint_dir)
    return trainer.fit()


def evaluations(config):
    """The hooks that --train_eval asks for."""
    if not config.train_eval:
        return []
    from semantic_synthesis.evaluation.during_training import TrainEval
    from semantic_synthesis.evaluation.evaluating import EvaluateOptions

    options = EvaluateOptions(metrics=config.eval_metrics, max_images=config.eval_images, seed=config.seed)
    return [TrainEval(config, options, config.eval_epoch_freq)]


def options_help():
    """The options that the asked method has."""
    method = asked_before_parsing("method", "spade")
    return f"{__doc__}\n\nOptions of --method {method}:\n{help_text(Config.class_for(method))}"


if __name__ == "__main__":
    command_line.start(main, options_help)
