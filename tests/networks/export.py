#!/usr/bin/python3
"""Export networks of torchvision to ONNX, with torch's own answers beside them.

usage: export.py FOLDER NAME [NAME ...] [--opset 17] [--size PIXELS]   (13 for detectors: torchvision 0.14
       exports RoiAlign without the mode that opset 16 takes for granted otherwise)
       export.py --list            the names of all families that it knows, one a line

Writes FOLDER/NAME/model.onnx and FOLDER/NAME/test_data_set_0/{input,output}_I.pb, as ONNX's own
operator tests are laid out.  Answers are computed in float64 where torch can (not those of quantised
networks, detectors and optical flow), and FOLDER/NAME/rounding says by how much torch's own in
float32 differ from them.  Weights are made from a seed, nothing is downloaded.  What torchvision
starts at a constant (scales at 1 or 1e-6, biases and the last layer of ViT at 0) is made random
too, or half the network would not show in the answer, and BatchNorm gets the statistics of a few
pictures.  A network whose answers to two pictures hardly differ is an error: it would test nothing.
The exit status is 3 where torch cannot export a network, 1 for everything else.

Needs torch, torchvision and onnx (Debian: python3-torch python3-torchvision python3-onnx).
"""
import argparse
import copy
import os
import sys
import warnings

import numpy
import torch
import torchvision
from onnx import numpy_helper
from torch import nn

warnings.filterwarnings("ignore")
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
LEAST_DIFFERENCE = 0.04  # between the answers to two pictures, of the largest value
MOST_ROUNDING = 1e-3  # of torch's float32; four times that is let through
NOT_EXPORTED = 3  # the exit status where torch has no ONNX for something
LEAST_QUANTIZED = 0.25  # theirs, which are compared less closely
DETECTORS = {  # constructor arguments with which random weights find something
    "fasterrcnn": {"box_score_thresh": 0.012, "box_detections_per_img": 20},
    "maskrcnn": {"box_score_thresh": 0.012, "box_detections_per_img": 10},
    "keypointrcnn": {"box_score_thresh": 0.3, "box_detections_per_img": 5},
    "retinanet": {"score_thresh": 0.01, "detections_per_img": 20},
    "fcos": {"score_thresh": 0.01, "detections_per_img": 20},
    "ssd300": {"score_thresh": 0.012, "detections_per_img": 20},
    "ssdlite320": {"score_thresh": 0.012, "detections_per_img": 20},
}


# ---- families ------------------------------------------------------------------------------------


def family(name):
    """Which of torchvision's families a name is of."""
    models = torchvision.models
    for kind in ("segmentation", "detection", "video", "optical_flow"):
        if hasattr(getattr(models, kind), name):
            return kind
    return "quantization" if name.startswith("quantized_") else "classification"


def build(name, kind):
    models = torchvision.models
    if kind == "classification":
        extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        return getattr(models, name)(weights=None, **extra)
    if kind == "segmentation":
        extra = {} if name.startswith("lraspp") else {"aux_loss": True}
        return models.segmentation.__dict__[name](weights=None, weights_backbone=None, **extra)
    if kind == "quantization":
        extra = {"init_weights": True} if "inception" in name or "googlenet" in name else {}
        return models.quantization.__dict__[name[len("quantized_") :]](weights=None, **extra)
    if kind == "detection":
        return models.detection.__dict__[name](
            weights=None, weights_backbone=None, **DETECTORS.get(name.split("_")[0], {})
        )
    return getattr(models, kind).__dict__[name](weights=None)


def side(name):
    """Pixels of a picture's side."""
    special = {"inception_v3": 299, "quantized_inception_v3": 299, "raft": 128, "vit_h_14": 224}
    special.update({"ssd300": 300, "ssdlite320": 320})
    if family(name) == "detection":
        special.setdefault(name, 224)
    if name in ("mc3_18", "r3d_18", "r2plus1d_18"):
        return 112
    return special.get(name, special.get(name.split("_")[0], 224))


def picture(count, size, frames=0):
    """Something with large and small features, unlike noise, which every deep network averages."""
    dims = (frames,) if frames else ()
    coarse = torch.randn(count, 3, *(2 for _ in dims), 5, 5)
    mode = "trilinear" if frames else "bilinear"
    smooth = nn.functional.interpolate(coarse, size=(*dims, size, size), mode=mode, align_corners=True)
    return smooth + 0.3 * torch.randn(count, 3, *dims, size, size)


def inputs(name, kind, size, count):
    """A tuple of arguments for the network."""
    if kind == "video":
        return (picture(count, size, 16),)
    if kind == "optical_flow":
        first = picture(count, size).tanh()
        return first, torch.roll(first, (3, -2), (2, 3)) + 0.05 * torch.randn(count, 3, size, size)
    if kind == "detection":
        return ([p.sigmoid() for p in picture(count, size)],)
    return (picture(count, size),)


class Plain(nn.Module):
    """A network that gives a tuple of tensors, whatever torchvision's gives."""

    def __init__(self, net, kind):
        super().__init__()
        self.net, self.kind = net, kind

    def forward(self, *args):
        y = self.net(*args)
        if self.kind == "optical_flow":
            y = y[-1:]
        if isinstance(y, (list, tuple)) and len(y) > 0 and isinstance(y[0], dict):
            y = y[0]
        if isinstance(y, dict):
            y = list(y.values())
        return tuple(y) if isinstance(y, (list, tuple)) else (y,)


# ---- weights -------------------------------------------------------------------------------------


def stir(net):
    """Random values for what starts as a constant."""
    for p in net.parameters():
        if p.numel() < 2 or p.min() != p.max():
            continue
        value = p.flatten()[0].item()
        if value == 0:
            p.normal_(0, p[0].numel() ** -0.5 if p.dim() > 1 else 0.05)
        elif abs(value) < 0.1:
            p.uniform_(0.1, 0.3)
        else:
            p.mul_(torch.empty_like(p).uniform_(0.8, 1.2))


def settle(net, samples):
    """Statistics of a few pictures for BatchNorm.  Where a channel is the same in all of them, others
    would come out so large that rounding shows, in torch as anywhere."""
    norms = [m for m in net.modules() if isinstance(m, NORMS)]
    for m in norms:
        m.momentum = None
        m.train()
    if norms:
        net(*samples)
    for m in norms:
        m.eval()
        m.running_var.clamp_(min=0.1 * m.running_var.mean().item())


def quantize(net, samples):
    """Whole numbers of 8 bits, with ranges from a few pictures."""
    torch.backends.quantized.engine = "qnnpack"
    net.fuse_model(is_qat=False)
    net.qconfig = torch.ao.quantization.get_default_qconfig("qnnpack")
    torch.ao.quantization.prepare(net, inplace=True)
    net(*samples)
    torch.ao.quantization.convert(net, inplace=True)


def symbol_zero(graph, x):
    """x.zero_(), which Swin V2 does to part of a bias, and torch 1.13 does not export."""
    return graph.op("Mul", x, graph.op("Constant", value_t=torch.tensor(0.0)))


# ---- one network ---------------------------------------------------------------------------------


def difference(a, b):
    """The largest of any output's, of its largest value; 1 where the number of boxes differs."""
    worst = 0
    for p, q in zip(a, b):
        if p.shape != q.shape:
            return 1.0
        if p.numel() > 0 and p.is_floating_point():
            worst = max(worst, ((p - q).abs().max() / p.abs().max().clamp(min=1e-9)).item())
    return worst


def exact(net, x, kind):
    """Answers in float64, as float32; None where torch has none."""
    if kind not in ("classification", "segmentation", "video"):
        return None
    return tuple(t.float() for t in copy.deepcopy(net).double()(*(t.double() for t in x)))


def write(path, name, tensor):
    with open(path, "wb") as f:
        f.write(numpy_helper.from_array(numpy.ascontiguousarray(tensor), name).SerializeToString())


def export(folder, name, opset, size):
    torch.manual_seed(0)
    kind = family(name)
    size = size or side(name)
    opset = opset or (13 if kind == "detection" else 17)
    net = build(name, kind).eval()
    stir(net)
    settle(net, inputs(name, kind, size, 4))
    if kind == "quantization":
        quantize(net, inputs(name, kind, size, 4))
    x, other = inputs(name, kind, size, 1), inputs(name, kind, size, 1)
    net = Plain(net, kind).eval()
    y = net(*x)
    differs = difference(y, net(*other))
    if not all(t.isfinite().all() for t in y) or any(t.numel() == 0 for t in y):
        sys.exit(f"{name}: an answer that is empty or not finite")
    if differs < (LEAST_QUANTIZED if kind == "quantization" else LEAST_DIFFERENCE):
        sys.exit(f"{name}: the answers to two pictures differ by {differs:.1e} only")
    data = os.path.join(folder, name, "test_data_set_0")
    os.makedirs(data, exist_ok=True)
    # Without gradients this layer is one operator of torch's own, which has no ONNX.
    attention = any(isinstance(m, nn.MultiheadAttention) for m in net.modules())
    try:
        with torch.set_grad_enabled(attention):
            torch.onnx.export(net, x, os.path.join(folder, name, "model.onnx"), opset_version=opset)
    except Exception as error:
        print(f"{name}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        sys.exit(NOT_EXPORTED)
    reference = exact(net, x, kind)
    rounding = difference(reference, y) if reference else 0
    if reference and not (all(t.isfinite().all() for t in reference) and rounding < MOST_ROUNDING):
        sys.exit(f"{name}: torch's float32 is {rounding:.1e} off its float64")
    with open(os.path.join(folder, name, "rounding"), "w") as f:
        print(f"{rounding:.2e}", file=f)
    y = reference or y
    flat = x[0] if kind == "detection" else x
    for what, tensors in (("input", flat), ("output", y)):
        for i, t in enumerate(tensors):
            write(os.path.join(data, f"{what}_{i}.pb"), f"{what}_{i}", t.numpy())
    shapes = " ".join("x".join(str(d) for d in t.shape) for t in y)
    print(f"{name}: opset {opset}, answers {shapes}, two of them differ by {differs:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--opset", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        for name in torchvision.models.list_models():
            print(family(name), name)
        return
    if not args.folder or not args.names:
        parser.error("FOLDER and NAME are missing")
    torch.set_num_threads(1)
    torch.onnx.register_custom_op_symbolic("aten::zero", symbol_zero, 9)
    with torch.no_grad():
        for name in args.names:
            export(args.folder, name, args.opset, args.size)


if __name__ == "__main__":
    main()
