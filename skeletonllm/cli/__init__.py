"""The command `skeletonllm`. Verbs import what they need when they run, so that `--help` is quick."""

import os
import sys
from collections.abc import Sequence

import tyro

from skeletonllm.cli import answer, compare, convert, data, doctor, draw, explain, learn, look, machine, serve, share
from skeletonllm.cli.chains import chains
from skeletonllm.cli.ingest import ingest
from skeletonllm.cli.plan import plan
from skeletonllm.cli.verify import verify
from skeletonllm.errors import SkeletonLLMError

_VERBS = {
    "quickstart": learn.quickstart,
    "sample-data": data.sample_data,
    "ingest": ingest,
    "inspect": look.inspect,
    "validate": look.validate,
    "render": draw.render,
    "convert": convert.convert,
    "mine": learn.mine,
    "chains": chains,
    "verify": verify,
    "plan": plan,
    "train": learn.train,
    "evaluate": learn.evaluate,
    "compare": compare.compare,
    "explain": explain.explain,
    "recognize": answer.recognize,
    "describe": answer.describe,
    "serve": serve.serve,
    "merge": share.merge,
    "export": share.export,
    "push": share.push,
    "doctor": doctor.doctor,
    "env": machine.env,
}

_USER_MISTAKE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code is the verb's own (0 where it has none), or 2 for a mistake that the message explains.

    `--debug` shows where the mistake was found.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"] or ["--help"]
    try:
        code = tyro.extras.subcommand_cli_from_dict(
            _VERBS,
            prog="skeletonllm",
            description="Any human-skeleton recording, seen by a multimodal LLM through a differentiable renderer. "
            "Start with `skeletonllm quickstart`; `skeletonllm VERB --help` explains a verb; `--debug` with any verb shows "
            "where an error came from.",
            args=given,
        )
    except SkeletonLLMError as error:
        if debug:
            raise
        print(f"skeletonllm: {error}", file=sys.stderr)
        return _USER_MISTAKE
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file that is not there, no permission, a full disk
        if debug:
            raise
        print(f"skeletonllm: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return _USER_MISTAKE
    except KeyboardInterrupt:
        print("skeletonllm: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return code or 0
