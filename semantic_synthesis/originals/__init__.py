"""The machinery that turns other programs' checkpoints into runs; it knows no method.

What is particular about one original is a converter, which `Method.converter()` gives: a module (or any object) with
  ROLES: {flag that names a file: (what the file is, pattern of a tensor only such a file has)}; the first is required;
  infer(files, asked) -> Evidence with the options that show in the tensor shapes. files: {flag: (path, tensors)};
    asked(option) -> what flags or dataset want, None where open; asked("num_classes") is C where the dataset is known.
    Evidence of the classes is num_classes, or semantic_channels (classes, and one more for instance edges);
  rules(role, config) -> the Rules for one file;
and, where the defaults do not do:
  TRAINING: the flags whose networks only training needs;
  settle(evidence, flags, sizes, known) -> None: conclusions from several files, sizes and flags; ValueError where
    they contradict (`options.complete_config`);
  complete(config) -> config: last changes to the Config of the run;
  ORIGIN, FLAGS: the other program and {its option: what it is here}, for who types its command line;
  GREW_FROM: the methods whose generators are known by a tensor that this one's have, too;
  read(path) -> {name: array}, for files that torch.save did not write;
  finish(config, arrays) -> arrays: last changes to {variable: array}.
"""
