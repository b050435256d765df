"""Trains a run: python train.py --image_dir photos --label_dir labels --checkpoint_dir checkpoints/mine."""

from semantic_synthesis import command_line  # first: it quietens TensorFlow
from semantic_synthesis.config import Config, define_flags, from_flags, given_flags, training_config
from semantic_synthesis.training import Trainer, make_strategy

define_flags(Config)


def main():
    """Resolves the options, trains (or resumes), returns the exit code."""
    from semantic_synthesis import data
    from semantic_synthesis.methods import instance_maps, method_class

    def resolve(config):
        return method_class(config).with_defaults(data.resolve(config))

    config = training_config(from_flags(Config), given_flags(Config), resolve)
    strategy = make_strategy(config.distribute)  # before any other use of TensorFlow
    dataset = data.open_dataset(config, instance_maps=instance_maps(config))
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


if __name__ == "__main__":
    command_line.start(main)
