"""Which operations a picture of SPADE's generator, or a training step, spends its time in, by TensorFlow's profiler.

    python benchmarks/operations.py [--labels FOLDER] [--precisions float32 bfloat16] [--batch 1] [--step] [--most 0]

256x256, full width, 183 classes, label patches, the plan at hand. Milliseconds of each kind of operation are
summed over the threads that run operations side by side, so the sum may exceed the time of a picture.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import tensorflow as tf
from inference import calls, generator
from measuring import COCO, label_maps, label_source
from tensorflow.tsl.profiler.protobuf import xplane_pb2
from training import step_function

PICTURES = 5
KINDS = {
    "matrix products": ("_MklMatMul", "_MklBatchMatMulV2", "MatMul", "BatchMatMulV2"),
    "convolutions": (
        "_MklNativeConv2DWithBias",
        "_MklNativeConv2D",
        "_MklNativeFusedConv2D",
        "Conv2D",
        "_FusedConv2D",
    ),
    "convolutions' gradients": (
        "_MklNativeConv2DBackpropInput",
        "_MklNativeConv2DBackpropFilter",
        "Conv2DBackpropInput",
        "Conv2DBackpropFilter",
        "_MklNativeConv2DBackpropFilterWithBias",
    ),
    "gathers": ("GatherV2",),
    "sums over equal pixels": ("SegmentSum", "SegmentSumV2", "UnsortedSegmentSum"),
    "elementwise": (
        *("Mul", "AddV2", "AddN", "BiasAdd", "LeakyRelu", "Relu", "Tanh", "Cast", "Sub"),
        *("LeakyReluGrad", "ReluGrad", "BiasAddGrad", "RealDiv", "Neg", "Square"),
    ),
    "variables": (
        "ResourceApplyAdam",
        "AssignVariableOp",
        "AssignAddVariableOp",
        "AssignSubVariableOp",
        "Sqrt",
    ),
}


def profiled(call):
    """{operation: milliseconds of one call}."""
    for _ in range(3):
        call()
    found = Counter()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(PICTURES):
            call()
        tf.profiler.experimental.stop()
        for path in Path(folder).rglob("*.xplane.pb"):
            space = xplane_pb2.XSpace.FromString(path.read_bytes())
            for plane in (plane for plane in space.planes if "CPU" in plane.name):
                for event in (event for line in plane.lines for event in line.events):
                    name, _, operation = plane.event_metadata[event.metadata_id].name.rpartition(":")
                    if name and not name.startswith("end") and not name.endswith(":"):
                        found[operation] += event.duration_ps / 1e9 / PICTURES
    return Counter(
        {name: time for name, time in found.items() if "__inference" not in name}
    )  # calls of functions


def by_kind(operations):
    """{kind: milliseconds}, all others as "the rest"."""
    found = {kind: sum(operations.pop(name, 0.0) for name in names) for kind, names in KINDS.items()}
    return found | {"the rest": sum(operations.values())}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", default=str(COCO))
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--step", action="store_true", help="a training step, without VGG")
    parser.add_argument("--most", type=int, default=0, help="name so many of the longest operations, too")
    options = parser.parse_args()
    label, times = label_maps(options.labels, 256, 256, options.batch), {}
    for p in options.precisions:
        call = (
            step_function("patches", p, label)
            if options.step
            else calls(generator("patches", p, 256, 256), label)[0]
        )
        operations = profiled(call)
        for name, milliseconds in operations.most_common(options.most):
            sys.stderr.write(f"{p} {name} {milliseconds:.0f} ms\n")
        times[p] = by_kind(operations)
    print(f"Label maps: {label_source(options.labels)}.\n")
    print("| operations | " + " | ".join(options.precisions) + " |")
    print("|---" * (1 + len(times)) + "|")
    for kind in (*KINDS, "the rest"):
        print(f"| {kind} | " + " | ".join(f"{times[p][kind]:.0f} ms" for p in options.precisions) + " |")


if __name__ == "__main__":
    sys.exit(main())
