"""The programs under test, as the suites' command lines name them."""

from pathlib import Path


def add_arguments(parser):
    """Adds `--engine` and `--logits`."""
    parser.add_argument("--engine", type=Path, required=True, help="path of the candela-engine program")
    parser.add_argument("--logits", type=Path, help="path of the example `logits` [default: examples/logits beside the engine]")


def parse(parser):
    """The parsed command line, both programs there."""
    args = parser.parse_args()
    args.logits = args.logits or args.engine.parent / "examples" / "logits"
    for program, builder in ((args.engine, "release.sh"), (args.logits, "logits.sh")):
        if not program.is_file():
            parser.error(f"{program} is not there; tests/setup/{builder} builds it")
    return args
