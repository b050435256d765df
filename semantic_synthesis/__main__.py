"""python -m semantic_synthesis COMMAND --option value ...; without a command it lists them."""

import importlib
import sys

# Command -> module and the attribute that holds (options dataclass, function from options to exit code).
COMMANDS = {
    "convert": ("convert", "COMMAND"),
    "evaluate": ("evaluation", "COMMANDS"),
    "generate": ("evaluation", "COMMANDS"),
    "prepare celeba": ("data.prepare", "COMMANDS"),
    "prepare check": ("data.prepare", "COMMANDS"),
    "prepare describe": ("data.prepare", "COMMANDS"),
    "prepare instances": ("data.prepare", "COMMANDS"),
    "prepare scenes": ("data.prepare", "COMMANDS"),
    "publish": ("publishing", "COMMAND"),
    "serve": ("serving", "COMMAND"),
}


def main(arguments):
    """Finds the command, hands its flags to it; never returns."""
    words = [word for word in arguments if not word.startswith("-")][:2]
    name = next((n for n in (" ".join(words), *words[:1]) if n in COMMANDS), None)
    if name is None or arguments[: len(name.split())] != name.split():
        group = [n for n in COMMANDS if words and n.split()[0] == words[0] and " " in n]
        asked = f"unknown command {' '.join(words)!r}; " if words else ""
        sys.stderr.write(f"error: {asked}expected one of: {', '.join(group or COMMANDS)}\n")
        sys.exit(2)
    from semantic_synthesis import command_line  # not above: it imports TensorFlow
    from semantic_synthesis.options import define_flags, from_flags, help_text

    module, attribute = COMMANDS[name]
    found = getattr(importlib.import_module(f"semantic_synthesis.{module}"), attribute)
    options, function = found if attribute == "COMMAND" else found[name.split()[-1]]
    define_flags(options)
    sys.argv = [f"semantic_synthesis {name}", *arguments[len(name.split()) :]]
    command_line.start(lambda: function(from_flags(options)), lambda: help_text(options))


if __name__ == "__main__":
    main(sys.argv[1:])
